"""Damaged data files: never a crash, never other values; an error that names file, dataset and array."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from atlas import Atlas
from atlas.errors import CorruptStoreError
from atlas.format.segment import ChunkRows, SegmentRef, decode_index, encode_tail
from atlas.storage import MemoryStorage
from atlas.write.encoding import FILTERS

DATA = {
    "a": np.arange(40, dtype="f4") % 7,
    "b": np.arange(40, dtype="f4") % 5,
    "c": np.full(40, 3, "f4"),
}
WORDS = np.array(["x", "é", "long " * 20, ""], object)


def make(codec="zstd", kind="bitshuffle"):
    storage = MemoryStorage()
    store = Atlas.create(storage, codec=codec, filter=kind)
    for name, data in DATA.items():
        view = store.create_dataset(name)
        view.define_array("t", "float32", ["x"], [40], [15])
        view.write_array("t", [0], data)
        view.define_array("s", "string", ["x"], [4])
        view.write_array("s", [0], WORDS)
    store.flush()
    return storage


def key_of(storage, array):
    (key,) = [key for key in storage.list("arrays") if key.startswith(f"arrays/{array}/")]
    return key


def read_all(storage):
    """Every array read by every way there is; values that differ from what was written fail the test."""
    store = Atlas.open(storage)
    for name, data in DATA.items():
        np.testing.assert_array_equal(store.open_dataset(name).read_array("t"), data)
        assert store.open_dataset(name).read_array("s").tolist() == WORDS.tolist()
        store.open_dataset(name).array_stats("s")
    np.testing.assert_array_equal(store.read_array_across_stacked("t", list(DATA)), list(DATA.values()))
    np.testing.assert_array_equal(
        store.read_array_across_stacked("t", list(DATA), [20], [3]), [data[20:23] for data in DATA.values()]
    )
    assert store.read_array_across_stacked("s", list(DATA)).tolist() == [WORDS.tolist()] * 3


@pytest.mark.parametrize("array", ["t", "s"])
@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
def test_no_damaged_byte_of_a_segment_gives_other_values(codec, array):
    storage = make(codec)
    read_all(storage)
    key = key_of(storage, array)
    data = storage.read(key)
    found = []
    for at in range(0, len(data), 5):
        storage.replace(key, data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        try:
            read_all(storage)
        except CorruptStoreError as error:
            found.append((error.key, error.array or array))
    assert set(found) == {(key, array)}
    for stop in (0, 10, len(data) // 2, len(data) - 65):
        storage.replace(key, data[:stop])
        with pytest.raises(CorruptStoreError):
            read_all(storage)


def forge(storage, array, change):
    """Put other tables into a segment, with right checksums, and make the checkpoint name it."""
    store = Atlas.open(storage)
    session = store._session
    (ref,) = session.catalog.segments[array]
    data = storage.read(ref.key)
    end = ref.footer.index_offset
    blocks, rows, texts, digests = decode_index(data[end : end + ref.footer.index_length], ref.footer)
    stored = bytearray(data[:end])
    blocks, rows = change(stored, blocks, rows) or (blocks, rows)
    tail, footer = encode_tail(blocks, rows, len(stored), texts=texts, digests=digests)
    storage.replace(ref.key, bytes(stored) + tail)
    session.catalog.segments[array] = [SegmentRef(array, ref.key, len(stored) + len(tail), footer)]
    assert session.committer.writer.checkpoint(session.catalog, force=True)


def resign(stored, blocks):
    checksums = [
        xxhash.xxh3_64_intdigest(bytes(stored[o : o + n]))
        for o, n in zip(blocks.offset.tolist(), blocks.stored.tolist(), strict=True)
    ]
    return type(blocks)(**(blocks.columns() | {"checksum": np.array(checksums, np.uint64)}))


def with_column(name, value, *, table):
    def change(stored, blocks, rows):
        parts = {"blocks": blocks, "rows": rows}
        columns = parts[table].columns()
        column = columns[name].copy()
        column[:] = value
        parts[table] = type(parts[table])(**(columns | {name: column}))
        return parts["blocks"], parts["rows"]

    return change


@pytest.mark.parametrize("array", ["t", "s"])
@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("blocks", "raw", 0),
        ("blocks", "raw", 1),
        ("blocks", "raw", 2**40),
        ("blocks", "raw", 2**62),
        ("blocks", "raw", 2**63 - 1),
        ("blocks", "stored", 0),
        ("blocks", "stored", 1),
        ("blocks", "offset", 17),
        ("blocks", "codec", 0),
        ("blocks", "codec", 2),
        ("blocks", "checksum", 0),
        ("blocks", "raw", 10**6),
        ("rows", "offset", 10**9),
        ("rows", "offset", 2**62),
    ],
)
def test_wrong_tables_with_right_checksums_are_found(array, table, name, value):
    storage = make()
    forge(storage, array, with_column(name, value, table=table))
    with pytest.raises(CorruptStoreError):
        read_all(storage)


@pytest.mark.parametrize("array", ["t", "s"])
def test_blocks_of_noise_with_right_checksums_are_found_or_read_as_noise(array):
    storage = make()
    noise = np.random.default_rng(0)

    def change(stored, blocks, rows):
        stored[16:] = noise.bytes(len(stored) - 16)
        return resign(stored, blocks), rows

    forge(storage, array, change)
    with pytest.raises(CorruptStoreError):
        read_all(storage)


def test_string_lengths_that_exceed_their_block_are_found():
    storage = make("none")

    def change(stored, blocks, rows):
        stored[16:20] = b"\xff\xff\xff\x7f"
        return resign(stored, blocks), rows

    forge(storage, "s", change)
    with pytest.raises(CorruptStoreError):
        read_all(storage)


@pytest.mark.parametrize("position", [4, 2**32, 2**63 - 1, 2**63 + 4, 2**64 - 2])
def test_string_statistics_that_name_no_cell_are_found(position):
    storage = make()
    forge(storage, "s", with_column("maximum", position, table="rows"))
    store = Atlas.open(storage)
    with pytest.raises(CorruptStoreError):
        store.open_dataset("a").array_stats("s")


def test_a_chunk_outside_the_grid_is_not_shown():
    storage = make()

    def change(stored, blocks, rows):
        return blocks, ChunkRows(**(rows.columns() | {"chunk": rows.chunk + 1000}))

    forge(storage, "t", change)
    view = Atlas.open(storage).open_dataset("a")
    try:
        values, found = view.read_array("t"), view.array_stats("t")
    except CorruptStoreError:
        return
    assert values.tolist() == [0] * 40
    assert found is None or 0 <= found["null_count"] <= 40


def test_a_cut_chunk_whose_blocks_are_missing_is_found():
    storage = MemoryStorage()
    data = np.random.default_rng(0).random(200_000)
    with Atlas.create(storage) as store:
        view = store.create_dataset("a")
        view.define_array("t", "float64", ["x"], [200_000])
        view.write_array("t", [0], data)

    def change(stored, blocks, rows):
        return blocks.take(slice(0, 3)), rows

    forge(storage, "t", change)
    view = Atlas.open(storage).open_dataset("a")
    for start, count in ((0, 200_000), (199_000, 10), (90_000, 20_000)):
        with pytest.raises(CorruptStoreError) as caught:
            view.read_array("t", [start], [count])
        assert (caught.value.dataset, caught.value.array) == ("a", "t")


def test_a_missing_segment_is_damage_and_never_fill():
    storage = make()
    storage.delete([key_of(storage, "t")])
    store = Atlas.open(storage)
    for read in (
        lambda: store.open_dataset("a").read_array("t"),
        lambda: store.read_array_across("t", ["a"]),
        lambda: store.open_dataset("a").array_stats("t"),
    ):
        with pytest.raises(CorruptStoreError, match="missing"):
            read()
    assert store.open_dataset("a").read_array("s").tolist() == WORDS.tolist()


def test_the_filters_are_those_of_the_format():
    assert FILTERS == {"none": 0, "byteshuffle": 1, "bitshuffle": 2, "decimal": 3, "delta": 4, "decimaldelta": 5}
