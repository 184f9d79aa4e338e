from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import obstore.exceptions
import pytest
from obstore.store import AzureStore, HTTPStore, LocalStore, MemoryStore, S3Store

from atlas.errors import CorruptStoreError, InvalidTypeError, StorageError
from atlas.runtime.threads import IO_THREADS
from atlas.storage import open_storage
from atlas.storage.objects import ObjectStorage
from tests.storage.contract import StorageContract, int64, some_bytes


class TestMemoryStore(StorageContract):
    @pytest.fixture
    def storage(self):
        return ObjectStorage(MemoryStore())

    def test_does_not_pickle(self, storage):
        with pytest.raises(InvalidTypeError, match="MemoryStore"):
            pickle.dumps(storage)

    def test_two_are_two_places(self, storage):
        assert storage.token != ObjectStorage(MemoryStore()).token

    @pytest.mark.timeout(30)
    def test_threads_that_write_and_list_do_not_wait_for_each_other(self, storage):
        def write():
            for number in range(5000):
                storage.replace(f"a/{number % 50}", bytes(100))

        def count():
            return max(len(storage.list("a")) for _ in range(1500))

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(call) for call in (write, count, write, count)]
            assert max(done.result() or 0 for done in running) == len(storage.list("a")) == 50


class TestLocalStore(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return ObjectStorage(LocalStore(tmp_path))

    def test_pickles(self, storage, tmp_path):
        storage.create("a", b"x")
        again = pickle.loads(pickle.dumps(storage))
        assert again.read("a") == b"x"
        assert again.token == storage.token
        assert str(tmp_path) in storage.describe


class TestS3Store(StorageContract):
    threads = 3
    rounds = 8

    @pytest.fixture
    def handle(self, s3_endpoint):
        return s3_endpoint.open_store(s3_endpoint.make_bucket("contract"), prefix=uuid.uuid4().hex)

    @pytest.fixture
    def storage(self, handle):
        return ObjectStorage(handle)

    def test_pickles(self, storage):
        storage.create("a", b"x")
        again = pickle.loads(pickle.dumps(storage))
        assert again.read("a") == b"x"
        assert again.token == storage.token

    def test_token_tells_places_apart(self, s3_endpoint):
        tokens = {
            ObjectStorage(s3_endpoint.open_store(bucket, prefix)).token
            for bucket in ("one", "two")
            for prefix in (None, "a", "b")
        }
        assert len(tokens) == 6
        one = ObjectStorage(s3_endpoint.open_store("one", "a"))
        assert one.token == ObjectStorage(s3_endpoint.open_store("one", "a", secret="b-secret")).token
        assert all(text in one.describe for text in ("S3Store", "'one'", "'a'", s3_endpoint.url))

    def test_failed_uploads_are_aborted(self, storage, s3_endpoint):
        def parts():
            yield bytes(40_000_000)
            raise KeyError("x")

        with pytest.raises(KeyError):
            storage.write("big", parts())
        with urllib.request.urlopen(f"{s3_endpoint.url}/contract?uploads", timeout=30) as answer:
            assert b"<Upload>" not in answer.read()

    def test_a_bucket_that_is_not_there_is_a_storage_error(self, s3_endpoint):
        storage = ObjectStorage(s3_endpoint.open_store("nowhere"))
        for call in (storage.list, lambda: storage.create("a", b""), lambda: storage.write("a", [])):
            with pytest.raises(StorageError, match="nowhere"):
                call()


class TestAzureStore(StorageContract):
    threads = 3
    rounds = 8

    @pytest.fixture
    def storage(self, azure_endpoint):
        return ObjectStorage(azure_endpoint.open_store(azure_endpoint.make_container("contract"), uuid.uuid4().hex))


class Wrapper:
    """Stands before a store and counts, cuts or fails what goes through."""

    def __init__(self, store):
        self.store = store
        self.asked = []
        self.cut = 0
        self.error = None
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.pause = threading.Event()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if self.error is not None:
            raise self.error
        return getattr(self.store, name)

    def get_range(self, path, *, start, length):
        with self._lock:
            self.asked.append((start, length))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.pause.wait(0.02)
        try:
            if self.error is not None:
                raise self.error
            return memoryview(self.store.get_range(path, start=start, length=length))[: length - self.cut]
        finally:
            with self._lock:
                self._at_once -= 1


class TestRequests:
    @pytest.fixture
    def wrapper(self):
        return Wrapper(MemoryStore())

    @pytest.fixture
    def storage(self, wrapper):
        return open_storage(wrapper)

    def test_ranges_that_go_on_are_one_request_and_others_go_out_together(self, wrapper, storage):
        data = some_bytes(40_000_000)
        storage.write("x", [data])
        offsets = int64(0, 10, 100, 10_000_000, 20_000_000)
        out = np.zeros(50, np.uint8)
        storage.read_into("x", offsets, np.full(5, 10, np.int64), out, int64(0, 10, 20, 30, 40))
        assert sorted(wrapper.asked) == [(0, 20), (100, 10), (10_000_000, 10), (20_000_000, 10)]
        assert wrapper.most_at_once > 1
        assert out.tobytes() == b"".join(data[offset : offset + 10] for offset in offsets.tolist())

    def test_no_more_requests_are_on_their_way_than_allowed(self, wrapper, storage):
        storage.write("x", [bytes(10_000)])
        offsets = np.arange(0, 10_000, 100)
        storage.read_into("x", offsets, np.full(100, 1, np.int64), np.zeros(100, np.uint8), np.arange(100))
        assert len(wrapper.asked) == 100
        assert wrapper.most_at_once == IO_THREADS

    def test_a_long_range_is_several_requests(self, wrapper, storage):
        data = some_bytes(20_000_000)
        storage.write("x", [data])
        out = np.zeros(len(data), np.uint8)
        storage.read_into("x", int64(0), int64(len(data)), out, int64(0))
        assert out.tobytes() == data
        assert len(wrapper.asked) == 3

    def test_a_cut_answer_is_noticed(self, wrapper, storage):
        storage.write("x", [bytes(100)])
        wrapper.cut = 3
        with pytest.raises(CorruptStoreError, match="100 bytes"):
            storage.read_range("x", 0, 50)
        with pytest.raises(CorruptStoreError, match="100 bytes"):
            storage.read_into("x", int64(0), int64(50), np.zeros(50, np.uint8), int64(0))

    def test_nothing_writes_after_a_failed_read(self, wrapper, storage):
        storage.write("x", [bytes([1]) * 30_000_000])
        wrapper.cut = 1
        out = np.zeros(30_000_000, np.uint8)
        with pytest.raises(CorruptStoreError):
            storage.read_into("x", int64(0), int64(out.size), out, int64(0))
        assert wrapper._at_once == 0

    @pytest.mark.parametrize(
        ("error", "number"),
        [
            (obstore.exceptions.GenericError("Generic S3 error: timed out\n\nDebug source: lots"), errno.EIO),
            (obstore.exceptions.PermissionDeniedError("denied"), errno.EACCES),
            (NotImplementedError("no conditional put"), errno.EIO),
            (ConnectionResetError(errno.ECONNRESET, "reset"), errno.ECONNRESET),
        ],
    )
    def test_failures_are_storage_errors(self, wrapper, storage, error, number):
        storage.write("x", [b"abc"])
        wrapper.error = error
        out = np.zeros(1, np.uint8)
        calls = [
            lambda: storage.read("x"),
            lambda: storage.size("x"),
            lambda: storage.read_range("x", 0, 1),
            lambda: storage.read_into("x", int64(0), int64(1), out, int64(0)),
            storage.list,
            lambda: storage.create("y", b""),
            lambda: storage.replace("y", b""),
            lambda: storage.write("y", [b"1"]),
            lambda: storage.write("y", [bytes(40_000_000)]),
            lambda: storage.delete(["x"]),
        ]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.errno == number
            assert caught.value.__cause__ is error
            assert "Debug source" not in str(caught.value)
        wrapper.error = None
        assert storage.list() == ["x"]

    def test_a_lost_race_is_no_failure(self, wrapper, storage):
        wrapper.error = obstore.exceptions.PreconditionError("stale")
        assert storage.create("x", b"") is False

    def test_secrets_in_addresses_are_left_out_of_messages(self, wrapper, storage):
        wrapper.error = obstore.exceptions.GenericError("Error performing GET https://me:pw@host/x?sig=hidden in 3ms")
        with pytest.raises(StorageError, match="in 3ms") as caught:
            storage.read("x")
        assert "hidden" not in str(caught.value)
        assert "pw@" not in str(caught.value)

    def test_what_is_on_its_way_up_is_bounded(self, wrapper, storage):
        taken = []

        def parts():
            for _ in range(64):
                taken.append(1)
                yield bytes(1_000_000)

        sizes = []
        put = wrapper.store.put

        class Counting:
            def put(self, path, file, **options):
                assert options["use_multipart"] is True
                for block in file:
                    sizes.append((len(block), len(taken)))
                return put(path, b"")

        storage.create("tried", b"")
        wrapper.store = Counting()
        assert storage.write("x", parts()) == 64_000_000
        assert max(size for size, _ in sizes) == 16 * 1024 * 1024
        # The second block is asked for before it is known that one upload will not do.
        assert sizes[0][1] <= 34


@pytest.mark.parametrize(
    "handle",
    [
        AzureStore("box", account_name="me", account_key="c2VjcmV0", prefix="p"),
        HTTPStore("https://user:c2VjcmV0@host/path?sig=c2VjcmV0"),
        S3Store("b", secret_access_key="c2VjcmV0", access_key_id="x", session_token="c2VjcmV0", region="r"),
    ],
)
def test_no_secret_is_shown(handle):
    storage = ObjectStorage(handle)
    assert "c2VjcmV0" not in repr(storage) + storage.token
    assert "(" in storage.describe


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_instead_of_hanging(tmp_path):
    script = """
        import os, signal, sys
        from obstore.store import LocalStore
        from atlas.errors import StorageError
        from atlas.storage import open_storage
        storage = open_storage(LocalStore(sys.argv[1]))
        storage.create("a", b"x")
        storage.read("a")
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                storage.read("a")
            except StorageError as error:
                os._exit(7 if "spawn" in str(error) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert storage.read("a") == b"x"
    """
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=True, cwd=root, timeout=60)
