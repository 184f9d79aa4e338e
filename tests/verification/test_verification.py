"""Verification finds and names all damage and nothing else; what is whole can still be read and exported."""

from __future__ import annotations

import errno
import hashlib
import threading
import time
import tracemalloc

import numpy as np
import orjson
import pytest

import atlas
from atlas import Atlas
from atlas.catalog import paging
from atlas.catalog.chunk_index import load_segment
from atlas.commit.commit_writer import CommitWriter
from atlas.errors import (
    AtlasError,
    CorruptStoreError,
    StaleHandleError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
    UnsupportedFormatError,
)
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.format.segment import FOOTER_SIZE, HEADER, decode_index, encode_tail
from atlas.storage import MemoryStorage
from tests.api.samples import DTYPES, make_cells, put
from tests.read.test_damage import resign, with_column

WORDS = np.array(["x", "é", "long " * 20, ""], object)


def build(storage, **options):
    """Three datasets that differ, written in two flushes; `b` lacks an array, `t` of `a` lies in both segments."""
    rng = np.random.default_rng(7)
    with Atlas.create(storage, **options) as store:
        for name in "abc":
            view = store.create_dataset(name)
            view.set_attribute("station", f"of {name}")
            view.define_array("t", "float32", ["x"], [40], [15], fill_value=float("nan"))
            view.write_array("t", [0], rng.normal(size=40).astype("f4"))
            view.define_array("never", "int8", ["x"], [3])
            if name != "b":
                view.define_array("s", "string", ["x"], [4], fill_value="")
                view.write_array("s", [0], WORDS)
        view.define_array("flat", "int16", ["x", "y"], [4, 4], [2, 2], fill_value=-1)
        view.write_array("flat", [0, 0], np.array([[7] * 4] * 2 + [[-1] * 4] * 2, "i2"))
    with Atlas.open(storage) as store:
        store.open_dataset("a").write_array("t", [3], np.ones(9, "f4"))
        store.open_dataset("b").set_attribute("late", 1.5)
    return storage


def contents(store):
    """Everything that is read, by dataset and array; attributes under None."""
    found = {}
    for name in store.list_datasets():
        view = store.open_dataset(name)
        found[name, None] = view.exact_attributes(), view.list_arrays()
        for array in view.list_arrays():
            found[name, array] = view.read_array(array).tolist(), view.array_stats(array), view.array_meta(array)
    return repr(found), found


def replaced(storage, key, data):
    """A copy of a store in memory with another file."""
    copy = MemoryStorage()
    for other in storage.list():
        copy.replace(other, storage.read(other))
    if data is None:
        copy.delete([key])
    else:
        copy.replace(key, data)
    return copy


def flipped(data, at, bit=2):
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def segments(storage):
    return [ref for refs in Atlas.open(storage)._session.catalog.segments.values() for ref in refs]


def chunks_by_block(storage, ref):
    """The live chunks of each block of a segment, with the bytes of the block, found without the code under test."""
    store = Atlas.open(storage)
    catalog, table = store._session.catalog, store._session.view.chunk_index(ref.array)
    source, rows = load_segment(storage, ref)
    found = []
    for block in range(len(source.blocks)):
        begin = int(source.blocks.offset[block])
        inside = set()
        for at in np.flatnonzero(rows.block == block).tolist():
            dataset, chunk = int(rows.dataset[at]), int(rows.chunk[at])
            newest = np.flatnonzero((table.rows.dataset == dataset) & (table.rows.chunk == chunk))[0]
            if table.sources[int(table.source[newest])].name == ref.key:
                inside.add((catalog.names[dataset], ref.array, (chunk,)))
        found.append((begin, begin + int(source.blocks.stored[block]), inside))
    return found


def expected_of(storage, ref, at):
    """What a damaged byte of a segment must be reported as: {(dataset, array, chunk)}."""
    if at < len(HEADER) or at >= ref.size - FOOTER_SIZE:
        return {(None, ref.array, None)}
    for begin, end, inside in chunks_by_block(storage, ref):
        if begin <= at < end:
            return inside or {(None, ref.array, None)}
    store = Atlas.open(storage)
    with_array = [name for name in store.list_datasets() if ref.array in store.open_dataset(name).list_arrays()]
    # `t` of `a` lies in both segments, and no dataset wholly in the newer one: either index concerns all of them.
    return {(name, ref.array, None) for name in with_array}


def check_flip(storage, everything, key, at, bit, *, export):
    """Flip one bit; verify must name it, all else must read as before, and the export must hold just that."""
    damaged = replaced(storage, key, flipped(storage.read(key), at, bit))
    target = MemoryStorage() if export else None
    report = atlas.verify(damaged, export=target)
    assert not report.ok, (key, at, bit)
    assert {damage.file for damage in report.damage} == {key}, (key, at, report)
    assert report.bytes > 0
    refs = {ref.key: ref for ref in segments(storage)}
    if key in refs:
        found = {(damage.dataset, damage.array, damage.chunk) for damage in report.damage}
        assert found == expected_of(storage, refs[key], at), (key, at, report)
    broken = {(damage.dataset, damage.array) for damage in report.damage if damage.chunk or damage.dataset}
    if key in refs:  # the store opens
        store = Atlas.open(damaged)
        for name, array in everything.keys() - broken:
            if array is not None:
                view = store.open_dataset(name)
                got = view.read_array(array).tolist(), view.array_stats(array), view.array_meta(array)
                assert repr(got) == repr(everything[name, array]), (key, at, name, array)
    if not export:
        return
    assert set(report.left_out) == broken
    if report.version == Atlas.open(storage)._session.catalog.version:
        shown, there = contents(Atlas.open(target))
        assert there.keys() == everything.keys() - broken
        for (name, array), value in there.items():
            if array is None:
                attributes, arrays = everything[name, None]
                assert repr(value[0]) == repr(attributes), shown
                assert value[1] == [one for one in arrays if (name, one) not in broken]
            else:
                assert repr(value) == repr(everything[name, array])
    assert atlas.verify(target).ok


def forge(storage, array, change):
    """Put other tables into the only segment of an array, with right checksums, and make the only commit name it."""
    (ref,) = [ref for ref in segments(storage) if ref.array == array]
    data = storage.read(ref.key)
    end = ref.footer.index_offset
    blocks, rows = decode_index(data[end : end + ref.footer.index_length], ref.footer)
    stored = bytearray(data[:end])
    tail, footer = encode_tail(*change(stored, blocks, rows), len(stored))
    storage.replace(ref.key, bytes(stored) + tail)
    (key,) = storage.list("commits")

    def name(document):
        (named,) = [segment for segment in document["segments"] if segment["key"] == ref.key]
        named["size"], named["index"] = len(stored) + len(tail), [footer.index_offset, footer.index_length]
        named["index_xxh3"] = f"{footer.index_checksum:016x}"
        named["chunks"], named["blocks"] = footer.chunks, footer.blocks

    rewrite(storage, key, name)


def rewrite(storage, key, change):
    """Change a JSON document and sign it anew."""
    document = orjson.loads(storage.read(key))
    del document["xxh3"]
    change(document)
    storage.replace(key, CHECKPOINT_NAMES["atlas.json"].encode(document))


def all_files(storage):
    return [(key, len(storage.read(key))) for key in storage.list()]


def test_a_store_that_is_whole_is_reported_whole_and_counted():
    storage = build(MemoryStorage())
    report = atlas.verify(storage)
    assert report.ok
    assert report.damage == report.left_out == report.repaired == ()
    assert (report.version, report.datasets, report.orphans) == (2, 3, 0)
    refs = segments(storage)
    assert report.blocks == sum(ref.footer.blocks for ref in refs)
    assert report.chunks == 9 + 2 + 4
    assert report.files == len(storage.list())
    assert report.bytes == sum(size for _, size in all_files(storage))
    assert Atlas.open(storage).verify().ok


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_of_every_dtype_are_computed_alike(dtype):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        fills = {"string": "a", "timestamp_nanoseconds": -(2**63)}
        for number in range(6):
            view = store.create_dataset(f"d{number}")
            cells = make_cells(dtype, (37, 5), number)
            put(view, "plain", cells, dtype, (10, 5))
            fill = fills.get(dtype, float("nan") if dtype.startswith("float") else 1)
            put(view, "filled", cells, dtype, (9, 4), fill_value=fill)
            put(view, "same", np.broadcast_to(cells[:1, :1], (4, 4)), dtype, (3, 3), fill_value=fill)
            put(view, "scalar", cells[0, 0].reshape(()) if dtype != "string" else np.array("é", object), dtype)
    assert str(atlas.verify(storage).damage) == "()"


def test_no_flipped_bit_goes_unseen_and_each_is_named():
    storage = build(MemoryStorage())
    _, everything = contents(Atlas.open(storage))
    for key, size in all_files(storage):
        for number, at in enumerate(range(0, size, 89)):
            check_flip(storage, everything, key, at, at % 8, export=number % 8 == 0)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_bit_of_any_file_goes_unseen():
    storage = build(MemoryStorage())
    _, everything = contents(Atlas.open(storage))
    for key, size in all_files(storage):
        for at in range(size):
            check_flip(storage, everything, key, at, at % 8, export=at % 16 == 0)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("compression", ["none", "zstd", "lz4"])
def test_no_bit_of_any_document_goes_unseen(compression):
    storage = kept(MemoryStorage(), meta_compression=compression)
    for key, size in all_files(storage):
        for at in range(0 if key.startswith("arrays/") else size):
            report = atlas.verify(replaced(storage, key, flipped(storage.read(key), at, at % 8)))
            assert {damage.file for damage in report.damage} == {key}, (key, at)


def test_cut_chunks_and_chunks_of_many_schemas_are_named_by_their_grid_position():
    storage = MemoryStorage()
    rng = np.random.default_rng(0)
    with Atlas.create(storage, codec="none") as store:
        view = store.create_dataset("a")
        view.define_array("t", "float64", ["x", "y"], [300, 200], [200, 200])  # 320 and 160 kB: five and three blocks
        view.write_array("t", [0, 0], rng.random((300, 200)))
        for n in range(1, 5):
            view = store.create_dataset(f"b{n}")
            view.define_array("t", "float64", ["x", "y"], [n, 4], [1, 2])
            view.write_array("t", [0, 0], rng.random((n, 4)))
    assert atlas.verify(storage).ok
    (ref,) = segments(storage)
    data = bytearray(storage.read(ref.key))
    source, rows = load_segment(storage, ref)
    heads = rows.block[rows.dataset == 0].tolist()
    assert len(source.blocks) >= 8
    data[int(source.blocks.offset[heads[0] + 2]) + 5] ^= 1
    data[int(source.blocks.offset[heads[1]]) + 5] ^= 1
    shared = int(rows.block[-1])
    assert shared not in heads
    data[int(source.blocks.offset[shared]) + 5] ^= 1
    found = atlas.verify(replaced(storage, ref.key, bytes(data))).damage
    assert [damage.chunk for damage in found if damage.dataset == "a"] == [(0, 0), (1, 0)]
    assert [(damage.dataset, damage.chunk) for damage in found if damage.dataset != "a"] == [
        (f"b{n}", (x, y)) for n in range(1, 5) for x in range(n) for y in range(2)
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: data[:-1], "bytes, not the"),
        (lambda data: data[:200], "its index is cut off"),
        (lambda data: data[:5], "its index is cut off"),
        (lambda data: b"", "its index is cut off"),
        (lambda data: data + b"\0", "bytes, not the"),
        (lambda data: None, "it is missing"),
    ],
)
def test_a_short_long_or_missing_segment_is_damage(change, what):
    storage = build(MemoryStorage())
    (ref,) = [ref for ref in segments(storage) if ref.array == "s"]
    report = atlas.verify(replaced(storage, ref.key, change(storage.read(ref.key))))
    assert not report.ok
    assert {damage.file for damage in report.damage} == {ref.key}
    lost = {damage.dataset for damage in report.damage if damage.dataset}
    assert lost == (set() if what == "bytes, not the" else {"a", "c"})
    assert any(what in damage.what for damage in report.damage), report


class FailingStorage(MemoryStorage):
    """A disk with a bad range in one file."""

    bad = ("", 0, 0)

    def _check(self, key, offset, length):
        name, begin, end = self.bad
        if key == name and offset < end and offset + length > begin:
            raise StorageError(errno.EIO, "Input/output error", key)

    def read(self, key):
        self._check(key, 0, 2**62)
        return super().read(key)

    def size(self, key):
        return len(super().read(key))

    def read_range(self, key, offset, length):
        self._check(key, offset, length)
        return super().read(key)[offset : offset + length]

    def read_into(self, key, offsets, lengths, out, targets):
        data = np.frombuffer(super().read(key), np.uint8)
        for offset, length, storage in zip(offsets.tolist(), lengths.tolist(), targets.tolist(), strict=True):
            self._check(key, offset, length)
            out[storage : storage + length] = data[offset : offset + length]


def failing(storage):
    copy = FailingStorage()
    for key in storage.list():
        copy.replace(key, storage.read(key))
    return copy


def test_a_bad_sector_hides_nothing_beside_it():
    storage = MemoryStorage()
    names = [f"d{n}" for n in range(40)]
    with Atlas.create(storage, codec="none") as store:
        store.create_datasets(names)
        store.write_array_across_stacked("t", names, np.random.default_rng(1).random((40, 9000)))
    (ref,) = segments(storage)
    source, _ = load_segment(storage, ref)
    at = int(source.blocks.offset[7])
    bad = failing(storage)
    bad.bad = (ref.key, at + 10, at + 600)
    target = MemoryStorage()
    report = atlas.verify(bad, export=target)
    assert [(damage.dataset, damage.chunk) for damage in report.damage] == [("d7", (0,))]
    assert "Input/output error" in report.damage[0].what
    assert report.left_out == (("d7", "t"),)
    whole = [name for name in names if name != "d7"]
    expected = Atlas.open(storage).read_array_across_stacked("t", whole)
    np.testing.assert_array_equal(Atlas.open(target).read_array_across_stacked("t", whole), expected)
    assert Atlas.open(target).open_dataset("d7").list_arrays() == []


@pytest.mark.parametrize("what", ["atlas.json", "commits/00000000000000000002.json", "arrays"])
def test_a_file_that_cannot_be_read_is_damage_and_no_exception(what):
    storage = build(MemoryStorage())
    key = next(key for key in storage.list() if key.startswith(what))
    bad = failing(storage)
    bad.bad = (key, 0, 2**62)
    report = atlas.verify(bad)
    assert {damage.file for damage in report.damage} == {key}
    assert all("Input/output error" in damage.what for damage in report.damage if damage.dataset is None)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("blocks", "raw", 1),
        ("blocks", "codec", 0),
        ("blocks", "checksum", 0),
        ("rows", "offset", 10**9),
        ("rows", "offset", 2**62),
        ("rows", "nulls", 3),
        ("rows", "minimum", 99),
        ("rows", "maximum", 99),
        ("rows", "chunk", np.arange(9) + 1000),
    ],
)
@pytest.mark.parametrize("array", ["t", "s"])
def test_forged_indexes_with_right_checksums_are_found(array, table, name, value):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for dataset in "abc":
            put(store.create_dataset(dataset), "t", np.random.default_rng(2).random(8), "float64", (3,))
            put(store.open_dataset(dataset), "s", np.array(["x", "é", "y"], object), "string", (1,))
    forge(storage, array, with_column(name, value, table=table))
    report = atlas.verify(storage)
    assert {damage.dataset for damage in report.damage} >= {"a", "b", "c"} or not isinstance(value, int)
    assert {damage.array for damage in report.damage} == {array}
    assert report.left_out == ()


def test_constant_chunks_with_wrong_statistics_are_found():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        put(store.create_dataset("a"), "t", np.full(8, 3, "i2"), "int16", (3,), fill_value=3)
        put(store.open_dataset("a"), "s", np.full(8, "", object), "string", (3,))
    assert atlas.verify(storage).ok
    for array in "ts":
        for name in ("nulls", "minimum", "maximum"):
            copy = replaced(storage, "arrays/none", b"")
            forge(copy, array, with_column(name, 5, table="rows"))
            assert {damage.chunk for damage in atlas.verify(copy).damage} == {(0,), (1,), (2,)}, (array, name)


@pytest.mark.parametrize(("cells", "what"), [(b"\xff\xfe", "UTF-8"), (None, "lengths")])
def test_bytes_that_are_no_strings_are_found(cells, what):
    storage = MemoryStorage()
    with Atlas.create(storage, codec="none") as store:
        put(store.create_dataset("a"), "s", np.array(["ab", "cd"], object), "string")

    def change(stored, blocks, rows):
        begin = len(HEADER)
        if cells is None:
            stored[begin : begin + 4] = b"\xff\xff\xff\x7f"
        else:
            stored[begin + 8 : begin + 10] = cells
        return resign(stored, blocks), rows

    forge(storage, "s", change)
    (damage,) = atlas.verify(storage).damage
    assert what in damage.what
    assert (damage.dataset, damage.array, damage.chunk) == ("a", "s", (0,))


def test_an_attribute_that_cannot_be_decoded_is_named():
    storage = build(MemoryStorage())
    key = storage.list("commits")[0]

    def spoil(document):
        values = document["rows"]["value_table"]
        values[values.index("of b")] = {"$": "float", "v": "what"}

    rewrite(storage, key, spoil)
    (damage,) = atlas.verify(storage).damage
    assert (damage.file, damage.dataset, damage.array) == (key, "b", None)
    assert "'station'" in damage.what


def test_damage_of_what_nothing_needs_is_reported_and_concerns_nothing():
    storage = build(MemoryStorage())
    with Atlas.open(storage) as store:
        store.delete_dataset("a")
        store.delete_dataset("c")
    (ref,) = [ref for ref in segments(storage) if ref.array == "s"]
    report = atlas.verify(replaced(storage, ref.key, flipped(storage.read(ref.key), len(HEADER))))
    (damage,) = report.damage
    assert (damage.dataset, damage.chunk) == (None, None)
    assert "needs nothing" in damage.what
    report = atlas.verify(replaced(storage, ref.key, None))
    (damage,) = report.damage
    assert damage.dataset is None
    assert "needs nothing" in damage.what


def test_a_lost_index_concerns_only_datasets_that_newer_segments_do_not_hold_whole():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for name in "abc":
            put(store.create_dataset(name), "t", np.arange(6.0), "float64", (2,))
    with Atlas.open(storage) as store:
        store.open_dataset("b").write_array("t", [0], np.arange(6.0) + 1)
        store.open_dataset("c").write_array("t", [0], np.arange(2.0) + 1)
    old, _ = segments(storage)
    target = MemoryStorage()
    report = atlas.verify(replaced(storage, old.key, None), export=target)
    assert [damage.dataset for damage in report.damage] == ["a", "c"]
    assert Atlas.open(target).open_dataset("b").read_array("t").tolist() == [1, 2, 3, 4, 5, 6]


def test_orphans_are_counted_and_no_damage():
    storage = build(MemoryStorage())
    storage.replace("arrays/t/stray.seg", b"whatever")
    storage.replace("pages/stray.json.zst", b"whatever")
    report = atlas.verify(storage)
    assert report.ok
    assert report.orphans == 2


# Documents


@pytest.mark.parametrize("damage", [lambda data: flipped(data, 40), lambda data: data[:50], lambda data: None])
@pytest.mark.parametrize("options", [{}, {"meta_format": "msgpack", "meta_compression": "zstd", "codec": "lz4"}])
def test_a_lost_checkpoint_is_built_from_the_commits_and_repaired(damage, options):
    storage = build(MemoryStorage(), **options)
    shown, _ = contents(Atlas.open(storage))
    (key,) = [key for key in storage.list() if "/" not in key]
    broken = replaced(storage, key, damage(storage.read(key)))
    with pytest.raises(AtlasError):
        Atlas.open(broken)
    before = {other: broken.read(other) for other in broken.list() if other != key}
    report = atlas.verify(broken)
    assert [found.file for found in report.damage] == [key]
    assert (report.version, report.datasets, report.chunks) == (2, 3, 15)
    assert report.repaired == ()
    report = atlas.verify(broken, repair=True)
    assert not report.ok
    assert len(report.repaired) == 1
    assert key in report.repaired[0]
    assert {other: broken.read(other) for other in broken.list() if other != key} == before
    assert contents(Atlas.open(broken))[0] == shown
    assert Atlas.open(broken).describe().codec == options.get("codec", "zstd")
    assert atlas.verify(broken).ok


def test_repair_changes_nothing_but_a_checkpoint():
    storage = build(MemoryStorage())
    for key in storage.list():
        if key == "atlas.json":
            continue
        broken = replaced(storage, key, flipped(storage.read(key), 60))
        before = {other: broken.read(other) for other in broken.list()}
        report = atlas.verify(broken, repair=True)
        assert not report.ok
        assert report.repaired == ()
        assert {other: broken.read(other) for other in broken.list()} == before


def test_an_open_handle_repairs_a_checkpoint_whose_commits_are_gone():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    store.compact()
    shown, _ = contents(store)
    storage.replace("atlas.json", b"gone")
    storage.delete(storage.list("commits")[:-1])
    report = store.verify(repair=True)
    assert [damage.file for damage in report.damage] == ["atlas.json"]
    assert report.datasets == 3
    assert len(report.repaired) == 1
    assert contents(Atlas.open(storage))[0] == shown


def test_a_checkpoint_that_is_not_the_sum_of_the_commits_is_found():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
    assert atlas.verify(storage).ok
    rewrite(storage, "atlas.json", lambda document: document["rows"]["names"].__setitem__(1, "bb"))
    report = atlas.verify(storage, repair=True)
    (damage,) = report.damage
    assert damage.file == "atlas.json"
    assert "sum of the commits" in damage.what
    assert Atlas.open(storage).list_datasets() == ["a", "b", "c"]


def test_a_damaged_commit_bars_the_versions_after_it():
    storage = build(MemoryStorage())
    first, second = storage.list("commits")
    report = atlas.verify(
        replaced(storage, second, flipped(storage.read(second), 99)), export=(target := MemoryStorage())
    )
    (damage,) = report.damage
    assert damage.file == second
    assert "version 2 cannot be opened" in damage.what
    assert report.version == 1
    assert Atlas.open(target).open_dataset("a").read_array("t")[3] != 1
    report = atlas.verify(replaced(storage, first, None))
    assert [damage.file for damage in report.damage] == [first]
    assert "missing" in report.damage[0].what
    assert "versions 1 to 2 cannot be opened" in report.damage[0].what


def test_a_handle_verifies_its_version_even_where_its_commit_is_damaged_now():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    key = storage.list("commits")[-1]
    storage.replace(key, flipped(storage.read(key), 99))
    report = store.verify(export=(target := MemoryStorage()))
    assert [damage.file for damage in report.damage] == [key]
    assert report.version == 2
    assert contents(Atlas.open(target))[0] == contents(store)[0]


def test_the_source_must_be_a_store_and_the_target_must_not():
    with pytest.raises(StoreNotFoundError):
        atlas.verify(MemoryStorage())
    storage = build(MemoryStorage())
    before = {key: storage.read(key) for key in storage.list()}
    with pytest.raises(StoreExistsError):
        atlas.verify(storage, export=storage)
    assert {key: storage.read(key) for key in storage.list()} == before
    other = MemoryStorage()
    other.replace("atlas.json", b'{"version": 1, "datasets": {}}')
    with pytest.raises(UnsupportedFormatError):
        atlas.verify(other)


def test_pending_writes_are_neither_verified_nor_lost():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    store.create_dataset("new")
    report = store.verify()
    assert (report.ok, report.datasets, report.version) == (True, 3, 2)
    store.flush()
    assert Atlas.open(storage).list_datasets() == ["a", "b", "c", "new"]


def test_progress_grows_to_the_total():
    storage = build(MemoryStorage())
    seen = []
    report = atlas.verify(storage, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(done <= total for done, total in seen)
    assert seen[-1] == (report.bytes, report.bytes)
    with pytest.raises(TypeError, match="progress"):
        atlas.verify(storage, progress=3)

    class Enough(Exception):
        pass

    def stop(done, total):
        raise Enough

    with pytest.raises(Enough):
        atlas.verify(storage, progress=stop)


def test_a_report_fits_a_terminal_and_a_notebook():
    storage = build(MemoryStorage())
    report = atlas.verify(storage)
    assert repr(report).count("\n") == 0
    assert "whole" in repr(report)
    (ref,) = [ref for ref in segments(storage) if ref.array == "s"]
    damaged = atlas.verify(replaced(storage, ref.key, None))
    assert repr(damaged).splitlines()[1].split() == ["file", "array", "dataset", "chunk", "what"]
    assert "<td>it is missing: which chunks it held cannot be known</td>" in damaged._repr_html_()
    many = type(damaged)(
        **{name: getattr(damaged, name) for name in damaged.__slots__} | {"damage": damaged.damage * 9}
    )
    assert "… and 8 more" in repr(many)


def test_what_is_verified_is_not_changed():
    storage = build(MemoryStorage())
    before = hashlib.sha256(repr([(key, storage.read(key)) for key in storage.list()]).encode()).digest()
    atlas.verify(storage, repair=True)
    assert hashlib.sha256(repr([(key, storage.read(key)) for key in storage.list()]).encode()).digest() == before


def test_reads_of_whole_datasets_go_on_beside_a_damaged_one():
    storage = MemoryStorage()
    names = [f"d{n}" for n in range(30)]
    with Atlas.create(storage) as store:
        store.create_datasets(names)
        store.write_array_across_stacked("t", names, np.random.default_rng(0).random((30, 9000)))
    (ref,) = segments(storage)
    source, _ = load_segment(storage, ref)
    damaged = replaced(storage, ref.key, flipped(storage.read(ref.key), int(source.blocks.offset[4]) + 50))
    store = Atlas.open(damaged)
    with pytest.raises(CorruptStoreError):
        store.read_array_across_stacked("t", names)
    whole = [name for name in names if name != "d4"]
    expected = Atlas.open(storage).read_array_across_stacked("t", whole)
    np.testing.assert_array_equal(store.read_array_across_stacked("t", whole), expected)
    assert {damage.dataset for damage in store.verify().damage} == {"d4"}


def paged(storage, monkeypatch):
    """A store whose datasets lie in two pages, some of which were changed or deleted later."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 4)
    with Atlas.create(storage) as store:
        for flush in range(2):
            for n in range(6):
                view = store.create_dataset(f"{'ab'[flush]}{n}")
                view.set_attribute("n", n)
                put(view, "t", np.arange(3.0) + n, "float64")
            store.flush()
        store.open_dataset("a1").set_attribute("n", 10)
        store.delete_dataset("a2")
        store.flush()
        assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
        store.open_dataset("a3").set_attribute("n", 30)
        store.delete_dataset("a4")
        store.create_dataset("c")
    return storage


@pytest.mark.parametrize("damage", [lambda data: flipped(data, 30), lambda data: data[:-9], lambda data: None])
def test_datasets_of_a_damaged_page_that_were_changed_later_are_recovered(damage, monkeypatch):
    storage = paged(MemoryStorage(), monkeypatch)
    assert atlas.verify(storage).ok
    store = Atlas.open(storage)
    first, _ = store._session.catalog.pages
    broken = replaced(storage, first.key, damage(storage.read(first.key)))
    target = MemoryStorage()
    report = atlas.verify(broken, export=target, repair=True)
    assert {found.file for found in report.damage} == {first.key}
    assert "of its 6 datasets" in report.damage[0].what
    assert report.repaired == ()
    rescued = Atlas.open(target)
    assert rescued.list_datasets() == ["a1", "a3", *(f"b{n}" for n in range(6)), "c"]
    for name in rescued.list_datasets():
        assert rescued.open_dataset(name).exact_attributes() == store.open_dataset(name).exact_attributes()
        if name != "c":
            np.testing.assert_array_equal(
                rescued.open_dataset(name).read_array("t"), store.open_dataset(name).read_array("t")
            )


def test_a_page_that_only_the_checkpoint_needs_is_repaired(monkeypatch):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for n in range(6):
            put(store.create_dataset(f"a{n}"), "t", np.arange(3.0) + n, "float64")
        store.flush()
        monkeypatch.setattr(paging, "PAGE_ROWS", 4)
        assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
    (page,) = store._session.catalog.pages
    storage.replace(page.key, flipped(storage.read(page.key), 30))
    with pytest.raises(CorruptStoreError):
        Atlas.open(storage)
    report = atlas.verify(storage, repair=True)
    assert {found.file for found in report.damage} == {page.key}
    assert (report.datasets, len(report.repaired)) == (6, 1)
    assert Atlas.open(storage).list_datasets() == [f"a{n}" for n in range(6)]
    assert atlas.verify(storage).ok


def test_memory_is_bounded_by_batches_whatever_a_store_holds(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "2")
    storage = MemoryStorage()
    with Atlas.create(storage, codec="none") as store:
        view = store.create_dataset("a")
        view.define_array("t", "float32", ["x"], [16 << 20], [4 << 20])  # 64 MiB in chunks of 16
        view.write_array("t", [0], np.arange(16 << 20, dtype="f4"))
    atlas.verify(storage)  # what is kept for good, such as compiled kernels, is made now
    tracemalloc.start()
    try:
        report = atlas.verify(storage)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.ok
    assert report.bytes > 64 << 20
    assert peak < 32 << 20


# History


def kept(storage, **options):
    """A store whose base is not its first version, with commits after the base and after the checkpoint."""
    build(storage, **options)
    with Atlas.open(storage) as store:
        for n in range(3):
            store.open_dataset("b").set_attribute("n", n)
            store.flush()
        store.compact(keep_versions=3, keep_days=0)
        for n in range(2):
            store.open_dataset("c").write_array("t", [n], np.full(3, n, "f4"))
            store.flush(message=f"number {n}")
        store.rollback(store.version - 1)
    return storage


@pytest.mark.parametrize("options", [{}, {"meta_format": "msgpack", "meta_compression": "lz4"}])
def test_documents_of_the_history_are_read_too(options):
    storage = kept(MemoryStorage(), **options)
    report = atlas.verify(storage)
    assert report.ok, report
    assert report.orphans == 0
    shown, _ = contents(Atlas.open(storage))
    documents = [key for key in storage.list() if not key.startswith("arrays/")]
    assert {key.partition("/")[0] for key in documents} >= {"bases", "commits"}
    for key in documents:
        for damaged in (flipped(storage.read(key), 33), None):
            if damaged is None and key.startswith("bases/") and "-" not in key:
                continue  # a link that is not there says that there is no later base
            if damaged is None and key == max(storage.list("commits")):
                continue  # nothing but an open handle knows that there was one
            copy = replaced(storage, key, damaged)
            target = MemoryStorage()
            report = atlas.verify(copy, export=target)
            assert {found.file for found in report.damage} == {key}, (key, damaged is None, report)
            if not key.startswith("commits/") or report.version == Atlas.open(storage).version:
                assert contents(Atlas.open(target))[0] == shown


@pytest.mark.parametrize("damage", [lambda data: flipped(data, 40), lambda data: None])
def test_a_checkpoint_is_repaired_from_the_base_and_the_history_stays(damage):
    storage = kept(MemoryStorage(), codec="lz4", filter="byteshuffle")
    store = Atlas.open(storage)
    history, shown = store.history(), contents(store)[0]
    before = [contents(Atlas.open(storage, version=one.version))[0] for one in history]
    broken = replaced(storage, "atlas.json", damage(storage.read("atlas.json")))
    report = atlas.verify(broken, repair=True)
    assert [found.file for found in report.damage] == ["atlas.json"]
    assert len(report.repaired) == 1
    repaired = Atlas.open(broken)
    assert contents(repaired)[0] == shown
    assert repaired.history() == history
    assert [contents(Atlas.open(broken, version=one.version))[0] for one in history] == before
    assert (repaired.describe().codec, repaired.describe().filter) == ("lz4", "byteshuffle")
    assert atlas.verify(broken).ok
    repaired.create_dataset("more")
    repaired.flush()
    assert atlas.verify(broken).ok


def test_every_version_that_is_kept_verifies_and_later_files_are_no_damage():
    storage = kept(MemoryStorage())
    for one in Atlas.open(storage).history():
        report = Atlas.open(storage, version=one.version).verify()
        assert report.ok, report
        assert report.version == one.version


def test_a_store_that_replaced_another_is_whole_and_can_be_repaired():
    storage = kept(MemoryStorage())
    build(storage, overwrite=True, meta_format="msgpack")
    assert atlas.verify(storage).ok
    shown, _ = contents(Atlas.open(storage))
    broken = replaced(storage, "atlas.msgpack", None)
    report = atlas.verify(broken, repair=True)
    assert {found.file for found in report.damage} == {"atlas.msgpack"}, report
    assert contents(Atlas.open(broken))[0] == shown
    assert atlas.verify(broken).ok


def test_a_store_that_replaced_a_damaged_one_is_whole_and_can_be_repaired():
    storage = kept(MemoryStorage())
    for key in storage.list("pages") + storage.list("commits"):
        storage.replace(key, b"damaged")
    storage.replace("atlas.json", b"damaged")
    build(storage, overwrite=True)
    report = atlas.verify(storage)
    assert report.ok, report
    shown, _ = contents(Atlas.open(storage))
    broken = replaced(storage, "atlas.json", None)
    report = atlas.verify(broken, repair=True)
    assert "atlas.json" in {found.file for found in report.damage}
    assert contents(Atlas.open(broken))[0] == shown


def test_an_open_handle_knows_that_the_last_commit_is_missing():
    storage = kept(MemoryStorage())
    store = Atlas.open(storage)
    key = max(storage.list("commits"))
    storage.delete([key])
    report = store.verify()
    assert [(found.file, found.what) for found in report.damage] == [
        (key, f"it is missing; version {store.version} cannot be opened")
    ]
    assert report.version == store.version


def test_a_handle_whose_version_is_no_longer_kept_is_stale():
    storage = build(MemoryStorage())
    store, other = Atlas.open(storage), Atlas.open(storage)
    other.open_dataset("a").write_array("t", [0], np.zeros(40, "f4"))
    other.compact(keep_versions=1, keep_days=0)
    with pytest.raises(StaleHandleError):
        store.verify()
    assert other.verify().ok


def test_an_old_checkpoint_that_was_written_late_is_no_damage():
    storage = build(MemoryStorage())
    late = storage.read("atlas.json")
    with Atlas.open(storage) as store:
        store.delete_dataset("a")
        store.compact(keep_days=0)
        shown, _ = contents(store)
    storage.replace("atlas.json", late)
    target = MemoryStorage()
    report = atlas.verify(storage, export=target)
    assert report.ok, report
    assert report.datasets == 2
    assert contents(Atlas.open(target))[0] == contents(Atlas.open(storage))[0] == shown


class Unlisted(MemoryStorage):
    """A storage that cannot be listed, such as a plain web server."""

    def list(self, prefix=""):
        raise StorageError(errno.EPERM, "this storage cannot be listed")


@pytest.mark.parametrize("make", [build, kept])
def test_a_storage_that_cannot_be_listed_is_verified_version_by_version(make):
    storage = make(MemoryStorage())
    served = Unlisted()
    for key in storage.list():
        served.replace(key, storage.read(key))
    report = atlas.verify(served)
    assert report.ok, report
    assert (report.orphans, report.version, report.chunks) == (None, Atlas.open(storage).version, 15)
    key = max(storage.list("commits"))
    served.replace(key, flipped(storage.read(key), 70))
    assert [damage.file for damage in atlas.verify(served).damage] == [key]


def test_verifying_beside_a_writer_and_compactions_reports_no_damage():
    storage = build(MemoryStorage())
    stop = threading.Event()
    errors = []

    def write():
        store = Atlas.open(storage)
        try:
            for n in range(1000):
                if stop.is_set():
                    return
                store.open_dataset("a").write_array("t", [n % 40], np.full(1, n, "f4"))
                store.open_dataset("b").set_attribute("n", n)
                store.flush()
                if n % 3 == 0:
                    store.compact(keep_days=0)
        except AtlasError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                report = atlas.verify(storage)
            except StaleHandleError:
                continue
            assert report.ok, report
            read += 1
    finally:
        stop.set()
        writer.join()
    assert not errors
    assert read > 0


@pytest.mark.parametrize("lost", [False, True])
def test_a_store_that_was_cut_off_while_it_replaced_another_is_whole_and_can_be_repaired(lost, monkeypatch):
    storage = build(MemoryStorage())
    with monkeypatch.context() as cut_off:
        cut_off.setattr(CommitWriter, "checkpoint", lambda *_, **__: False)
        build(storage, overwrite=True, meta_format="msgpack", codec="lz4")
    shown, _ = contents(Atlas.open(storage))
    assert "atlas.json" in storage.list()
    if lost:
        storage.delete(["atlas.json"])
    report = atlas.verify(storage, repair=True)
    assert report.ok is not lost
    assert len(report.damage) == len(report.repaired) == lost
    store = Atlas.open(storage)
    assert contents(store)[0] == shown
    assert (store.describe().codec, store.history()[-1].version) == ("lz4", store.version)
    store.create_dataset("more")
    store.compact(keep_days=0)
    assert atlas.verify(storage).ok
