"""What every storage does: one class of tests, which each backend inherits with a `storage` fixture of its own."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from atlas.errors import AtlasError, CorruptStoreError, InvalidTypeError, InvalidValueError

BAD_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\\b",
    "a\0b",
    "a\nb",
    "\ud800",
    ".tmp-1",
    "a/.tmp-2/b",
]


def int64(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def some_bytes(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


class StorageContract:
    threads = 6
    rounds = 30

    # -- whole objects

    def test_created_object_reads_back(self, storage):
        assert storage.create("commits/1.json", b"one") is True
        assert storage.read("commits/1.json") == b"one"
        assert storage.size("commits/1.json") == 3

    @pytest.mark.parametrize("first", [b"first", b""])
    def test_create_changes_nothing_where_the_key_is_there(self, storage, first):
        assert storage.create("a/b", first)
        assert storage.create("a/b", b"second") is False
        assert storage.create("a/b", first) is False
        assert storage.read("a/b") == first
        assert storage.list() == ["a/b"]
        assert storage.list_orphans() == []

    def test_create_sees_objects_that_were_written_and_forgets_deleted_ones(self, storage):
        storage.write("a", [b"x"])
        assert not storage.create("a", b"y")
        storage.delete(["a"])
        assert storage.create("a", b"y")
        assert storage.read("a") == b"y"

    def test_one_of_many_creators_wins(self, storage):
        barrier = threading.Barrier(self.threads)

        def compete(number: int) -> bool:
            barrier.wait()
            return storage.create("race/it", b"%d" % number)

        with ThreadPoolExecutor(self.threads) as pool:
            won = list(pool.map(compete, range(self.threads)))
        assert won.count(True) == 1
        assert storage.read("race/it") == b"%d" % won.index(True)
        assert storage.list() == ["race/it"]

    def test_replace_makes_and_overwrites(self, storage):
        storage.replace("atlas.json", b"long old content")
        storage.replace("atlas.json", b"new")
        assert storage.read("atlas.json") == b"new"
        assert storage.size("atlas.json") == 3
        assert storage.list() == ["atlas.json"]

    def test_ranges_of_a_replaced_object_are_of_the_new_one(self, storage):
        storage.replace("a", b"old.")
        assert storage.read_range("a", 0, 4) == b"old."
        storage.replace("a", b"newer")
        assert storage.read_range("a", 0, 5) == b"newer"
        storage.delete(["a"])
        with pytest.raises(FileNotFoundError):
            storage.read_range("a", 0, 4)
        assert storage.create("a", b"third.")
        assert storage.read_range("a", 0, 6) == b"third."

    def test_readers_of_a_replaced_object_never_see_a_mixture(self, storage):
        contents = [bytes([letter]) * 3000 for letter in b"abc"]
        storage.replace("doc", contents[0])
        stop = threading.Event()

        def read() -> int:
            count = 0
            while not stop.is_set():
                assert storage.read("doc") in contents
                count += 1
            return count

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                for number in range(self.rounds):
                    storage.replace("doc", contents[number % 3])
            finally:
                stop.set()
            assert all(reader.result() > 0 for reader in readers)

    @pytest.mark.parametrize("call", ["read", "size", "read_range", "read_into"])
    def test_missing_object_is_a_file_not_found(self, storage, call):
        storage.create("a/there", b"x")
        out = np.zeros(2, np.uint8)
        arguments = {"read_range": (0, 2), "read_into": (int64(0), int64(2), out, int64(0))}.get(call, ())
        for key in ("nowhere", "a/nowhere", "a"):
            with pytest.raises(FileNotFoundError) as caught:
                getattr(storage, call)(key, *arguments)
            assert not isinstance(caught.value, AtlasError)
            assert key in str(caught.value)

    # -- streamed writes

    def test_parts_of_every_kind_are_joined(self, storage):
        parts = [
            b"ab",
            bytearray(b"cd"),
            memoryview(b"xefx")[1:3],
            np.frombuffer(b"gh", np.uint8),
            np.array([0x6A69], "<u2"),
            b"",
            np.empty(0, np.uint8),
            np.empty((0, 3)),
            np.frombuffer(b"klmn", np.uint8).reshape(2, 2),
        ]
        assert storage.write("x/y", iter(parts)) == 14
        assert storage.read("x/y") == b"abcdefghijklmn"

    @pytest.mark.parametrize("parts", [[], [b""]])
    def test_an_empty_object_is_an_object(self, storage, parts):
        assert storage.write("empty", parts) == 0
        assert storage.read("empty") == b""
        assert storage.size("empty") == 0
        assert storage.read_range("empty", 0, 0) == b""
        assert storage.list() == ["empty"]

    def test_the_memory_of_a_part_may_be_used_again(self, storage):
        buffer = np.empty(300_000, np.uint8)
        sizes = [1000, 300_000, 1000, 100_000, 100_000, 50_000, 1000, 60_000, 200_000]

        def parts():
            for number in range(len(sizes)):
                buffer[:] = number
                yield buffer[: sizes[number]]

        total = storage.write("x", parts())
        content = np.frombuffer(storage.read("x"), np.uint8)
        assert total == content.size == sum(sizes)
        np.testing.assert_array_equal(content, np.repeat(np.arange(len(sizes)), sizes))

    def test_an_object_of_many_uploads_reads_back(self, storage):
        # Past the size of one upload, in parts that fit neither it nor a power of two.
        data = some_bytes(37_000_003)
        cuts = [0, 1, 1, 300_000, 17_000_000, 17_000_001, 33_000_000, len(data)]
        assert storage.write("big", (data[a:b] for a, b in pairwise(cuts))) == len(data)
        assert storage.size("big") == len(data)
        assert storage.read("big") == data
        out = np.zeros(len(data), np.uint8)
        storage.read_into("big", int64(0), int64(len(data)), out, int64(0))
        assert out.tobytes() == data

    @pytest.mark.parametrize("size", [10, 40_000_000])
    @pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError(2, "elsewhere"), CorruptStoreError("bad")])
    def test_failing_parts_leave_nothing(self, storage, size, error):
        def parts():
            yield bytes(size)
            raise error

        storage.write("there", [b"old"])
        for key in ("new/one", "there"):
            with pytest.raises(type(error)) as caught:
                storage.write(key, parts())
            assert caught.value is error
        assert storage.list() == ["there"]
        assert storage.list_orphans() == []
        assert storage.read("there") == b"old"
        assert storage.write("new/one", [b"again"]) == 5

    @pytest.mark.parametrize("part", [np.zeros((4, 4), np.uint8)[:, :2], "text", 3])
    def test_parts_that_are_no_bytes_are_refused(self, storage, part):
        with pytest.raises(InvalidTypeError):
            storage.write("x", [b"ok", part])
        assert storage.list() == []

    # -- ranges

    def test_read_range_is_exact(self, storage):
        data = some_bytes(1000)
        storage.write("x", [data])
        for offset, length in ((0, 1000), (0, 1), (999, 1), (17, 300)):
            assert storage.read_range("x", offset, length) == data[offset : offset + length]
        assert storage.read_range("x", 5, 0) == b""

    @pytest.mark.parametrize(("offset", "length"), [(0, 1001), (999, 2), (1000, 1), (5000, 10), (2**40, 2**50)])
    def test_a_range_past_the_end_names_key_range_and_size(self, storage, offset, length):
        storage.write("d/short", [bytes(1000)])
        with pytest.raises(CorruptStoreError, match="1000 bytes") as caught:
            storage.read_range("d/short", offset, length)
        assert caught.value.key == "d/short"
        assert all(text in str(caught.value) for text in ("'d/short'", str(offset), str(length)))

    @pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, -1), (2**63 - 1, 1)])
    def test_impossible_ranges_are_refused(self, storage, offset, length):
        storage.write("x", [b"abc"])
        with pytest.raises(InvalidValueError):
            storage.read_range("x", offset, length)

    def test_read_into_puts_each_range_where_it_is_wanted(self, storage):
        rng = np.random.default_rng(5)
        data = np.frombuffer(some_bytes(200_000), np.uint8)
        storage.write("x", [data])
        for count in (1, 2, 50, 700):
            lengths = rng.integers(0, 400, count)
            offsets = rng.integers(0, data.size - lengths)
            gaps = rng.integers(0, 3, count)
            # In another order than the ranges, some with unwanted bytes between.
            order = rng.permutation(count)
            out_offsets = np.empty(count, np.int64)
            out_offsets[order] = np.cumsum((lengths + gaps)[order]) - (lengths + gaps)[order]
            out = np.full(int((lengths + gaps).sum()) + 1, 7, np.uint8)
            expected = out.copy()
            for offset, length, begin in zip(offsets, lengths, out_offsets, strict=True):
                expected[begin : begin + length] = data[offset : offset + length]
            storage.read_into("x", offsets, lengths, out, out_offsets)
            np.testing.assert_array_equal(out, expected)

    def test_read_into_joins_neighbours_and_repeats(self, storage):
        data = np.arange(100, dtype=np.uint8)
        storage.write("x", [data])
        out = np.zeros(60, np.uint8)
        storage.read_into("x", int64(10, 20, 20, 95, 30), int64(10, 10, 10, 5, 20), out, int64(0, 10, 20, 30, 35))
        np.testing.assert_array_equal(out[:55], np.r_[10:30, 20:30, 95:100, 30:50])
        assert not out[55:].any()

    def test_read_into_of_far_ranges(self, storage):
        data = some_bytes(6_000_000)
        storage.write("x", [data])
        offsets = int64(5_999_990, 0, 3_000_000, 10)
        out = np.zeros(40, np.uint8)
        storage.read_into("x", offsets, np.full(4, 10, np.int64), out, int64(0, 10, 20, 30))
        assert out.tobytes() == b"".join(data[offset : offset + 10] for offset in offsets.tolist())

    def test_read_into_of_nothing(self, storage):
        storage.write("x", [b"abc"])
        out = np.full(2, 9, np.uint8)
        storage.read_into("x", int64(), int64(), out, int64())
        storage.read_into("x", int64(1, 3), int64(0, 0), out, int64(2, 0))
        assert out.tolist() == [9, 9]

    @pytest.mark.parametrize(
        ("offsets", "lengths"),
        [
            ([990], [11]),
            ([1000], [1]),
            ([3000], [4]),
            ([0, 990], [10, 11]),
            ([0, 4000], [10, 2]),
            ([9_000_000, 0], [2, 2]),
        ],
    )
    def test_read_into_past_the_end_names_key_and_size(self, storage, offsets, lengths):
        storage.write("d/short", [bytes(1000)])
        with pytest.raises(CorruptStoreError, match="1000 bytes") as caught:
            storage.read_into(
                "d/short", int64(*offsets), int64(*lengths), np.zeros(100, np.uint8), int64(*[0, 50][: len(offsets)])
            )
        assert caught.value.key == "d/short"

    @pytest.mark.parametrize(
        ("offsets", "lengths", "out_offsets", "error"),
        [
            (int64(-1), int64(1), int64(0), InvalidValueError),
            (int64(0), int64(-1), int64(0), InvalidValueError),
            (int64(0), int64(1), int64(-1), InvalidValueError),
            (int64(0), int64(5), int64(6), InvalidValueError),
            (int64(0), int64(11), int64(0), InvalidValueError),
            (int64(0), int64(1), int64(10), InvalidValueError),
            (int64(2**63 - 1), int64(1), int64(0), InvalidValueError),
            (int64(0), int64(1), int64(2**63 - 1), InvalidValueError),
            (int64(0, 1), int64(1), int64(0), InvalidValueError),
            (np.array([0], np.int32), int64(1), int64(0), InvalidTypeError),
            (int64(0), np.array([1.0]), int64(0), InvalidTypeError),
            (int64(0), int64(1), np.array([[0]]), InvalidTypeError),
        ],
    )
    def test_read_into_refuses_what_would_land_outside(self, storage, offsets, lengths, out_offsets, error):
        storage.write("x", [bytes(100)])
        out = np.full(10, 9, np.uint8)
        with pytest.raises(error):
            storage.read_into("x", offsets, lengths, out, out_offsets)
        assert (out == 9).all()

    def test_read_into_refuses_other_buffers(self, storage):
        storage.write("x", [bytes(100)])
        fixed = np.zeros(10, np.uint8)
        fixed.flags.writeable = False
        for out in (np.zeros(10, np.int8), np.zeros((2, 5), np.uint8), np.zeros(20, np.uint8)[::2], fixed):
            with pytest.raises(InvalidTypeError):
                storage.read_into("x", int64(0), int64(1), out, int64(0))

    def test_many_threads_read_while_objects_come_and_go(self, storage):
        data = [some_bytes(5000, seed) for seed in range(4)]
        for number, content in enumerate(data):
            storage.write(f"s/{number}", [content])
        stop = threading.Event()

        def read(seed: int) -> int:
            rng = np.random.default_rng(seed)
            count = 0
            while not stop.is_set():
                number = int(rng.integers(4))
                offsets = rng.integers(0, 4900, 8)
                lengths = rng.integers(1, 100, 8)
                out_offsets = np.cumsum(lengths) - lengths
                out = np.zeros(int(lengths.sum()), np.uint8)
                storage.read_into(f"s/{number}", offsets, lengths, out, out_offsets)
                pairs = zip(offsets.tolist(), lengths.tolist(), strict=True)
                assert out.tobytes() == b"".join(data[number][o : o + n] for o, n in pairs)
                count += 1
            return count

        with ThreadPoolExecutor(self.threads) as pool:
            readers = [pool.submit(read, seed) for seed in range(self.threads)]
            try:
                for number in range(self.rounds):
                    storage.write(f"new/{number}", [b"n"])
                    assert storage.read_range(f"new/{number}", 0, 1) == b"n"
                    if number % 3 == 0:
                        storage.delete([f"new/{number}"])
            finally:
                stop.set()
            assert all(reader.result() > 0 for reader in readers)

    # -- names

    def test_list_is_sorted_and_by_folder(self, storage):
        keys = ["b", "a/2", "a/10", "a/1/x", "a.b/c", "ab/c", "a-/d"]
        for key in keys:
            storage.create(key, b"")
        assert storage.list() == sorted(keys)
        assert storage.list("a") == storage.list("a/") == ["a/1/x", "a/10", "a/2"]
        assert storage.list("a/1") == ["a/1/x"]
        assert storage.list("ab") == ["ab/c"]
        assert storage.list("b") == []
        assert storage.list("none/such") == []

    def test_an_empty_storage_lists_nothing(self, storage):
        assert storage.list() == []
        assert storage.list_orphans() == []
        storage.delete(["a", "b/c"])

    def test_delete_takes_missing_ones_and_many(self, storage):
        for key in ("a", "d/b", "d/c", "keep"):
            storage.create(key, b"x")
        storage.delete(key for key in ["gone", "a", "d/gone", "d/b", "x/y/z", "d/c", "a"])
        storage.delete([])
        assert storage.list() == ["keep"]

    def test_names_with_letters_of_all_kinds(self, storage):
        keys = sorted(["ü/é#%25 x.seg", "a b/c?d&e=f", "日本/~x", "-", "a:b", "%2e%2e/x", "'\"*"])
        for key in keys:
            assert storage.create(key, key.encode())
        assert storage.list() == keys
        assert [storage.read(key).decode() for key in keys] == keys
        storage.delete(keys)
        assert storage.list() == []

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_what_is_no_key_is_refused(self, storage, key):
        out = np.zeros(1, np.uint8)
        calls = [
            lambda: storage.read(key),
            lambda: storage.size(key),
            lambda: storage.read_range(key, 0, 0),
            lambda: storage.read_into(key, int64(0), int64(1), out, int64(0)),
            lambda: storage.create(key, b""),
            lambda: storage.replace(key, b""),
            lambda: storage.write(key, []),
        ]
        if not key.startswith(".tmp-"):
            calls.append(lambda: storage.delete([key]))
        if key:
            calls.append(lambda: storage.list(f"{key}/"))
        for call in calls:
            with pytest.raises(InvalidValueError):
                call()
        assert storage.list() == []

    def test_a_key_that_is_no_text_is_a_type_error(self, storage):
        with pytest.raises(TypeError):
            storage.read(b"a")

    # -- the location

    def test_a_pickled_copy_has_the_same_objects_or_pickling_is_refused(self, storage):
        storage.create("a", b"x")
        try:
            pickled = pickle.dumps(storage)
        except InvalidTypeError:
            return
        again = pickle.loads(pickled)
        assert (again.token, again.read("a")) == (storage.token, b"x")

    def test_location_is_named_without_secrets(self, storage):
        assert storage.describe in repr(storage)
        assert type(storage).__name__ in repr(storage)
        assert storage.token == storage.token
        assert "a-secret" not in repr(storage) + storage.token + storage.describe
