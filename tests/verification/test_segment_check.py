"""Damage of segments is named by block, chunk and dataset, and nothing whole is called damaged."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas import Atlas
from atlas.catalog.chunk_index import load_segment
from atlas.format.segment import FOOTER_SIZE, HEADER, decode_index, encode_tail
from atlas.storage import MemoryStorage
from tests.api.samples import DTYPES, make_cells, put
from tests.read.test_damage import resign, with_column
from tests.verification.samples import all_files, build, contents, failing, flipped, replaced, rewrite, segments


def chunks_by_block(storage, ref):
    """The live chunks of each block of a segment, with the bytes of the block, found without the code under test."""
    store = Atlas.open(storage)
    catalog, table = store._session.catalog, store._session.view.load_index(ref.array)
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
    # Both segments hold `t` of `a`, and the newer one holds no dataset alone: either index concerns all of them.
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


def forge(storage, array, change, digests_of=lambda digests: digests):
    """Put other tables into the only segment of an array, with right checksums, and make the only commit name it."""
    (ref,) = [ref for ref in segments(storage) if ref.array == array]
    data = storage.read(ref.key)
    end = ref.footer.index_offset
    blocks, rows, texts, digests = decode_index(data[end : end + ref.footer.index_length], ref.footer)
    stored = bytearray(data[:end])
    blocks, rows = change(stored, blocks, rows)
    tail, footer = encode_tail(blocks, rows, len(stored), texts=texts, digests=digests_of(digests))
    storage.replace(ref.key, bytes(stored) + tail)
    (key,) = storage.list("commits")

    def name(document):
        (named,) = [segment for segment in document["segments"] if segment["key"] == ref.key]
        named["size"], named["index"] = len(stored) + len(tail), [footer.index_offset, footer.index_length]
        named["index_xxh3"] = f"{footer.index_checksum:016x}"
        named["chunks"], named["blocks"] = footer.chunks, footer.blocks

    rewrite(storage, key, name)


@pytest.mark.parametrize("dtype", ["float64", "string", "bool"])
def test_a_digest_that_is_not_that_of_the_cells_is_damage(dtype):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for number in range(4):
            view = store.create_dataset(f"d{number}")
            cells = make_cells(dtype, (800, 1), number // 2)[:, 0]
            view.define_array("x", dtype, ["x"], [800], [500])
            view.write_array("x", [0], cells)
    assert atlas.verify(storage).ok

    def keep(stored, blocks, rows):
        return blocks, rows

    def swap(digests):
        order = np.arange(len(digests))
        order[:2] = [1, 0]
        return np.frombuffer(digests[order].tobytes(), digests.dtype)

    forge(storage, "x", keep)
    assert atlas.verify(storage).ok
    forge(storage, "x", keep, swap)
    report = atlas.verify(storage)
    told = {(damage.dataset, damage.chunk) for damage in report.damage}
    # Equal chunks of two datasets have one digest, which is compared once.
    assert told == {(f"d{number}", (chunk,)) for number in (0, 1) for chunk in (0, 1)}
    assert {damage.what for damage in report.damage} == {"its digest is not that of its cells"}
    assert Atlas.open(storage).read_array_across_stacked("x", ["d0", "d3"]).shape == (2, 800)


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_of_every_dtype_are_computed_alike(dtype):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        fills = {"string": "a", "bytes": b"a", "bool": True}
        for number in range(6):
            view = store.create_dataset(f"d{number}")
            cells = make_cells(dtype, (37, 5), number)
            put(view, "plain", cells, dtype, (10, 5))
            fill = fills.get(dtype, {"f": float("nan"), "M": -(2**63), "m": -(2**63)}.get(cells.dtype.kind, 1))
            put(view, "filled", cells, dtype, (9, 4), fill_value=fill)
            put(view, "same", np.broadcast_to(cells[:1, :1], (4, 4)), dtype, (3, 3), fill_value=fill)
            put(view, "scalar", np.array(cells[0, 0], cells.dtype), dtype)
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


@pytest.mark.parametrize("fill", [None, True, False])
@pytest.mark.parametrize("byte", [2, 255])
@pytest.mark.parametrize("size", [5, 200_000], ids=["shared block", "cut chunk"])
def test_bytes_that_are_no_bools_are_damage_and_read_as_true(size, byte, fill):
    storage = MemoryStorage()
    cells = np.arange(size) % 3 == 0
    with Atlas.create(storage, codec="none") as store:
        put(store.create_dataset("a"), "t", cells, "bool", (size,), fill)
    forged = [1, 3, size - 1]  # a False, a True, and the last cell

    def change(stored, blocks, rows):
        for at in forged:
            stored[len(HEADER) + at] = byte
        nulls = 0 if fill is None else np.count_nonzero(np.delete(cells, forged) == fill)
        low = {None: 0, True: 0, False: 1}[fill]
        for name, value in (("nulls", nulls), ("minimum", low), ("maximum", byte)):
            blocks, rows = with_column(name, value, table="rows")(stored, blocks, rows)
        return resign(stored, blocks), rows

    forge(storage, "t", change)
    (damage,) = atlas.verify(storage).damage
    assert damage.what == "it holds a byte that is neither 0 nor 1, which is no bool"
    assert (damage.dataset, damage.array, damage.chunk) == ("a", "t", (0,))
    cells[forged] = True
    store = Atlas.open(storage)
    for found in (
        store["a"]["t"][...],
        store["a"].read_array("t", [0], [size]),
        store.read_array_across_stacked("t", ["a", "a"])[1],
        store.read_array_across("t", ["a"])[0],
    ):
        assert found.dtype == bool
        assert found.view("u1").tolist() == cells.astype("u1").tolist()
    assert store["a"].array_stats("t")["max"] is True
    for _ in range(3):  # from the file, and from caches
        assert store["a"].read_array("t", [1], [3]).view("u1").tolist() == [1, 0, 1]
    # A partial write reads the chunk, and writes bools.
    store["a"]["t"][0] = False
    store.flush()
    assert atlas.verify(storage).ok
    cells[0] = False
    assert Atlas.open(storage)["a"]["t"][...].tolist() == cells.tolist()


def test_a_constant_chunk_that_is_no_bool_is_damage():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        put(store.create_dataset("a"), "t", np.ones(6, bool), "bool", (3,))
    assert atlas.verify(storage).ok

    def change(stored, blocks, rows):
        for name, value in (("offset", [1, 2]), ("minimum", [1, 2]), ("maximum", [1, 2])):
            blocks, rows = with_column(name, value, table="rows")(stored, blocks, rows)
        return blocks, rows

    forge(storage, "t", change)
    (damage,) = atlas.verify(storage).damage
    assert (damage.chunk, damage.what) == ((1,), "it holds a byte that is neither 0 nor 1, which is no bool")
    assert Atlas.open(storage)["a"]["t"][...].view("u1").tolist() == [1] * 6


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
