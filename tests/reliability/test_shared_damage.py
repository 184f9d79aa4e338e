"""Stores whose datasets share chunks, each block, segment and digest of which is damaged or forged in turn."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

import atlas
from atlas import Atlas
from atlas.errors import CorruptStoreError
from atlas.storage import MemoryStorage
from tests.independent_reader import read_store
from tests.reliability.hostile import documents
from tests.reliability.hostile.reading import digest
from tests.reliability.hostile.segments import Segment, named_anew
from tests.reliability.hostile.stores import SHARED, make_storage, sound
from tests.reliability.twins import count_shared

COORDINATES = {"shared-golden": ("latitude", "distance", "station")}
"""Arrays of the stores that are shared; of others `lat`, `far` and `label`."""


def coordinates(name):
    return COORDINATES.get(name, ("lat", "far", "label"))


def keys_of(name, arrays):
    """Keys of the segments of some arrays that the last version has, oldest first."""
    segments = Atlas.open(make_storage(sound(name).files))._session.catalog.segments
    return [ref.key for array in arrays for ref in segments[array]]


def read_all(storage):
    """What stands for the cells of each array, by (dataset, array); None where they are refused."""
    store, found = Atlas.open(storage), {}
    for name in store.list_datasets():
        for array in store.list_arrays():
            view = store.open_dataset(name)
            if array not in view.list_arrays():
                continue
            try:
                found[name, array] = digest(view.read_array(array))
            except CorruptStoreError:
                found[name, array] = None
    return found


def check(files, right):
    """Assert that a damaged store is read right or refused, by reads, `verify` and an export; return what is refused.

    With it what `verify` names, both as sets of (dataset, array).
    """
    storage = make_storage(files)
    found = read_all(storage)
    assert found.keys() == right.keys()
    refused = {where for where, cells in found.items() if cells is None}
    assert {where: found[where] for where in found.keys() - refused} == {
        where: right[where] for where in right.keys() - refused
    }
    target = MemoryStorage()
    report = atlas.verify(storage, export=target)
    named = {(damage.dataset, damage.array) for damage in report.damage if damage.dataset is not None}
    exported = read_all(target)
    assert exported == {where: right[where] for where in right.keys() - named}
    assert set(report.left_out) == named
    assert Atlas.open(target).verify().ok
    return refused, named


def needing(name, key, block):
    """The datasets and arrays of a sound store that need a block of one of its segments, by what the format says.

    And those that may read it, or the same chunk in another segment.
    """
    array = key.split("/")[1]
    segments = {one: sound(name).segment(one) for one in keys_of(name, (array,))}
    named = names_by_id(name)
    newest = {}
    for one, segment in segments.items():
        columns = segment.columns
        for row, where in enumerate(zip(columns["dataset"].tolist(), columns["chunk"].tolist(), strict=True)):
            newest[where] = one, row
    must, may = set(), set()
    for (dataset, _), (one, row) in newest.items():
        places = [(one, row)]
        if segments[one].columns["block"][row] == -2:
            shared = segments[one].digests[segments[one].columns["digest"][row]]
            places = [
                (other, at)
                for other, segment in segments.items()
                for at in stored_rows(segment)
                if segment.digests[segment.columns["digest"][at]] == shared
            ]
            assert places
        lies = [other == key and block in blocks_of(segments[other], at) for other, at in places]
        if dataset in named:
            must |= {(named[dataset], array)} if all(lies) else set()
            may |= {(named[dataset], array)} if any(lies) else set()
    return must, may


def blocks_of(segment, row):
    """The blocks of the chunk of a row, which end where those of the next chunk begin."""
    first = int(segment.columns["block"][row])
    heads = sorted({*segment.columns["block"].tolist(), segment.blocks})
    return range(first, next(head for head in heads if head > first)) if first >= 0 else range(0)


def names_by_id(name):
    """Names of the datasets that a sound store has, by id."""
    store = Atlas.open(make_storage(sound(name).files))
    catalog, live = store._session.catalog, set(store.list_datasets())
    return {at: one for at, one in zip(catalog.ids.tolist(), catalog.names, strict=True) if one in live}


@pytest.mark.parametrize("name", SHARED)
def test_the_stores_share_chunks_within_a_segment_and_over_several(name):
    storage = make_storage(sound(name).files)
    for array in coordinates(name):
        beside, elsewhere = count_shared(Atlas.open(storage), array)
        assert beside > 0
        assert elsewhere > 0
    segments = [sound(name).segment(key) for key in keys_of(name, coordinates(name)[1:2])]
    assert any(segment.blocks > 2 for segment in segments), "no chunk is cut"
    assert Atlas.open(storage).verify().ok
    assert {where[0] for where in read_all(storage)} == read_store(storage.read).keys()


@pytest.mark.parametrize("name", SHARED)
def test_a_damaged_block_is_refused_and_named_for_every_dataset_that_shares_it(name):
    origin = sound(name)
    right = read_all(make_storage(origin.files))
    most = 0
    for key in keys_of(name, coordinates(name)):
        segment = origin.segment(key)
        for block in range(segment.blocks):
            data = bytearray(origin.files[key])
            where = segment.stored(block)
            data[where.start + block % (where.stop - where.start)] ^= 64
            refused, named = check(origin.files | {key: bytes(data)}, right)
            assert refused == named
            must, may = needing(name, key, block)
            assert must <= refused <= may
            most = max(most, len(refused))
    assert most > 2


@pytest.mark.parametrize("name", SHARED)
def test_what_a_lost_segment_may_have_had_is_not_exported(name):
    origin = sound(name)
    right = read_all(make_storage(origin.files))
    for key in keys_of(name, coordinates(name)):
        files = {other: data for other, data in origin.files.items() if other != key}
        refused, named = check(files, right)
        array = key.split("/")[1]
        assert refused == {where for where in right if where[1] == array}
        assert named <= refused


def forged(name, key, change):
    """The files of a sound store in which a segment says something else, and fits."""
    origin = sound(name)
    files, segment = dict(origin.files), origin.segment(key)
    change(segment)
    files[key], says = segment.close(segment.index(Random(0)))
    named_anew(files, dict(origin.trees), key, says)
    return files


def stored_rows(segment: Segment):
    columns = segment.columns
    return np.flatnonzero((columns.get("digest", np.full(segment.chunks, -1)) >= 0) & (columns["block"] >= 0)).tolist()


def named_by_verify(files, array):
    report = atlas.verify(make_storage(files))
    assert {damage.array for damage in report.damage} <= {array}
    return {damage.dataset for damage in report.damage}


@pytest.mark.parametrize("name", SHARED)
def test_a_digest_that_is_not_that_of_the_cells_is_damage(name):
    for key in keys_of(name, coordinates(name)):
        segment, array = sound(name).segment(key), key.split("/")[1]
        ids = names_by_id(name)
        for row in stored_rows(segment):
            dataset = ids.get(int(segment.columns["dataset"][row]))
            if dataset is None or not needed(name, key, row):
                continue

            def name_another(forged, row=row):
                columns = forged.columns
                columns["digests"] = np.concatenate([columns["digests"], np.arange(16, dtype="u1")])
                if len(forged.digests) > forged.chunks:  # no more than chunks
                    columns["digests"][16 * columns["digest"][row] :][:16] = np.arange(16)
                    columns["digests"] = columns["digests"][:-16]
                else:
                    columns["digest"][row] = len(forged.digests) - 1

            assert dataset in named_by_verify(forged(name, key, name_another), array), (key, row)


def needed(name, key, row):
    """Whether no later segment has a row of the same chunk."""
    order = keys_of(name, (key.split("/")[1],))
    columns = sound(name).segment(key).columns
    own = int(columns["dataset"][row]), int(columns["chunk"][row])
    later = [sound(name).segment(other).columns for other in order[order.index(key) + 1 :]]
    return not any(own in zip(one["dataset"].tolist(), one["chunk"].tolist(), strict=True) for one in later)


@pytest.mark.parametrize("name", SHARED)
def test_digests_that_no_segment_stores_are_refused(name):
    shared = 0
    for key in keys_of(name, coordinates(name)):
        segment, array = sound(name).segment(key), key.split("/")[1]
        rows = np.flatnonzero(segment.columns["block"] == -2).tolist()
        if not rows:
            continue
        shared += 1

        def change(forged, row=rows[-1]):
            at = forged.columns["digest"][row]
            forged.columns["digests"][16 * at : 16 * at + 16] = np.arange(16)

        files = forged(name, key, change)
        found = read_all(make_storage(files))
        assert {where for where, cells in found.items() if cells is None} == {w for w in found if w[1] == array}
        dataset = names_by_id(name)[int(segment.columns["dataset"][rows[-1]])]
        assert dataset in named_by_verify(files, array)

        def lack(forged, row=rows[-1]):
            forged.columns["digest"][row] = -1

        assert None not in named_by_verify(forged(name, key, lack), array)
    assert shared


def test_rows_that_name_each_others_digest_are_refused():
    """Chunks that every segment says lie in another one are nowhere."""
    origin = sound("shared")
    files, trees = dict(origin.files), dict(origin.trees)
    for key in keys_of("shared", ("lat",)):
        segment = origin.segment(key)
        has = segment.columns.get("digest", np.full(segment.chunks, -1)) >= 0
        segment.columns["block"][has] = -2
        files[key], says = segment.close(segment.index(Random(0)))
        named_anew(files, trees, key, says)
    found = read_all(make_storage(files))
    assert {where[1] for where, cells in found.items() if cells is None} == {"lat"}
    named = named_by_verify(files, "lat")
    assert named >= {"b", "c"}


@pytest.mark.parametrize("dtype", ["other", "narrow", "filled"])
def test_a_chunk_of_another_dtype_fill_or_content_under_a_digest_is_damage(dtype):
    """Another segment stores cells under the digest that those of the first segment have."""
    (first, *others) = keys_of("shared", ("lat",))
    (like, *_) = sound("shared").segment(first).digests
    ids = names_by_id("shared")
    checked = 0
    for key in others:
        segment = sound("shared").segment(key)
        rows = [row for row in stored_rows(segment) if ids.get(int(segment.columns["dataset"][row])) == dtype]
        for row in rows:

            def change(forged, row=row):
                at = forged.columns["digest"][row]
                forged.columns["digests"][16 * at : 16 * at + 16] = list(like)

            files = forged("shared", key, change)
            if segment.digests[segment.columns["digest"][row]] == like:
                continue
            checked += 1
            read_all(make_storage(files))  # right, refused or another's cells
            assert dtype in named_by_verify(files, "lat")
    assert checked


@pytest.mark.parametrize(("length", "rows"), [(4, 10_000), (20_000, 20_000)])
@pytest.mark.parametrize("dtype", ["string", "int32"])
def test_many_chunks_that_are_one_take_no_more_than_what_is_read_of_them(dtype, length, rows):
    """A small file may say that tens of thousands of long chunks lie in one place."""
    storage = MemoryStorage()
    store = Atlas.create(storage)
    view = store.create_dataset("a")
    view.define_array("x", dtype, ["x", "y"], [length, rows], [length, 1])
    some = np.array(["b", "", "a", "long"], object) if dtype == "string" else np.array([3, 1, 4, 1], dtype)
    cells = np.resize(some, length)
    view.write_array("x", [0, 0], cells[:, None])
    store.flush()
    (key,) = [key for key in storage.list() if key.endswith(".seg")]
    segment = Segment.parse(storage.read(key))
    for name in ("dataset", "generation", "chunk", "block", "offset", "nulls", "nans", "minimum", "maximum"):
        segment.columns[name] = np.repeat(segment.columns[name], rows)
    segment.columns["chunk"] = np.arange(rows)
    index = segment.index(Random(0))
    data, says = segment.close(index + bytes(max(0, rows // 64 + 1 - len(index))))
    files = {other: storage.read(other) for other in storage.list()} | {key: data}
    trees = {other: documents.decode(other, files[other]) for other in files if documents.is_document(other)}
    named_anew(files, trees, key, says)
    assert len(data) < 500_000
    store = Atlas.open(make_storage(files))
    found = store.open_dataset("a").read_array("x", [length - 4, 0], [4, rows])
    assert (found == some[:, None]).all()
    assert store.verify().ok
