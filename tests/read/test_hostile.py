"""Stores with wrong contents under right checksums: what they declare is refused before it costs memory or time."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import xxhash

import atlas.kernels
import atlas.runtime.memory
from atlas import Atlas
from atlas.dataset import exact_attributes
from atlas.errors import AtlasError, CorruptStoreError, InvalidValueError, TooLargeError
from atlas.format.attribute_keys import DTYPE_KEY
from atlas.format.attributes import decode_value
from atlas.format.dataset_columns import ArrayEntry
from atlas.format.schema import make_schema
from atlas.format.segment import Footer, decode_index
from atlas.kernels import new_bytes
from atlas.maintenance.chunk_copy import chunk_batches
from atlas.read.block_cache import BlockCache
from atlas.read.cache_pool import CachePool
from atlas.read.statistics import Statistics
from atlas.storage import MemoryStorage
from atlas.xarray.attribute_owners import assign_attributes
from atlas.xarray.recorded_dtypes import decoded_dtype
from tests.exact import set_exact_attribute
from tests.reliability.hostile import documents
from tests.reliability.hostile.documents import Raw
from tests.reliability.hostile.segments import Segment, named_anew

PETA = 10**15


def make(*, strings=("a", "b", "c"), **options):
    """A store of the dataset "d" with an array of numbers, in two chunks, and one of strings; all in its checkpoint."""
    storage = MemoryStorage()
    store = Atlas.create(storage, **options)
    view = store.create_dataset("d")
    view.define_array("n", "int32", ["x"], [6], [4])
    view.write_array("n", [0], np.arange(6, dtype="i4"))
    view.define_array("s", "string", ["x"], [len(strings)])
    view.write_array("s", [0], np.array(strings, object))
    view.set_attribute("k", 1)
    store.flush()
    store.compact(keep_versions=1, keep_days=0)
    return storage


def forge(storage, change, prefix="atlas."):
    """Change the fields of the checkpoint, or of the last document of another prefix."""
    key = max(key for key in storage.list() if key.startswith(prefix))
    tree = documents.decode(key, storage.read(key))
    change(tree)
    storage.replace(key, documents.encode(key, tree))
    return storage


def declare(storage, dtype, **fields):
    """Change the schema of the array of that dtype."""

    def change(tree):
        (schema,) = [schema for schema in tree["rows"]["schema_table"] if schema["dtype"] == dtype]
        schema.update(fields)

    return forge(storage, change)


def forge_segment(storage, array, change):
    """Change the columns of a segment."""
    (key,) = [key for key in storage.list("arrays") if key.startswith(f"arrays/{array}/")]
    segment = Segment.parse(storage.read(key))
    change(segment)
    data, says = segment.close(segment.index(Random(0)))
    storage.replace(key, data)
    (name,) = [name for name in storage.list() if name.startswith("atlas.")]
    files = {}
    named_anew(files, {name: documents.decode(name, storage.read(name))}, key, says)
    storage.replace(name, files[name])
    return storage


# Sizes that are declared


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.open_dataset("d").read_array("n"),
        lambda store: store.open_dataset("d").read_array("n", [5]),
        lambda store: store.read_array_across("n", ["d", "e"]),
        lambda store: store.read_array_across_stacked("n", ["d"]),
        lambda store: store.to_xarray("d"),
        lambda store: store.to_xarray_many(["d"]),
    ],
)
@pytest.mark.parametrize("chunk", [PETA, 2**20])
def test_an_array_of_petabytes_is_refused_before_memory_is_taken(read, chunk):
    store = Atlas.open(declare(make(), "int32", shape=[PETA], chunk_shape=[chunk]))
    with pytest.raises(TooLargeError) as caught:
        read(store)
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, AtlasError)
    assert caught.value.asked > caught.value.available
    assert str(caught.value.asked) in str(caught.value)
    assert str(caught.value.available) in str(caught.value)


def test_a_small_box_of_an_array_of_petabytes_is_read():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        view = store.create_dataset("d")
        view.define_array("n", "int32", ["x"], [PETA], [1000], fill_value=-1)
        view.write_array("n", [PETA // 2], np.arange(3, dtype="i4"))
    view = Atlas.open(storage).open_dataset("d")
    assert view.read_array("n", [PETA // 2 - 1], [5]).tolist() == [-1, 0, 1, 2, -1]
    assert view.array_stats("n")["max"] == 2


def test_a_region_of_more_chunks_than_can_be_planned_is_refused():
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("d")
    view.define_array("n", "int8", ["y", "x"], [2**30, 2**30], [1, 1])
    with pytest.raises(TooLargeError, match="plan to read 1152921504606846976 chunks"):
        view.read_array("n")
    assert view.read_array("n", [5, 5], [2, 2]).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("shape", [[2**20, 2**20, 1], [2**40, 1, 0]])
def test_a_dask_array_of_2_to_the_40_chunks_is_refused(shape):
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("d")
    view.define_array("n", "int8", ["z", "y", "x"], shape, [1, 1, min(shape[2], 1)])
    with pytest.raises(TooLargeError, match="dask array of 1099511627776 chunks"):
        store.to_xarray("d")


def test_a_result_beyond_the_memory_at_hand_is_refused_and_one_within_is_not(monkeypatch):
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("d")
    view.define_array("n", "float64", ["x"], [2 * 10**7], [10**7])
    monkeypatch.setattr(atlas.runtime.memory, "available_memory", lambda: 150 * 10**6)
    with pytest.raises(TooLargeError, match="160000000 bytes and there are 150000000"):
        view.read_array("n")
    assert view.read_array("n", [0], [10**7]).nbytes == 80 * 10**6


def test_memory_within_the_limit_of_the_process_counts():
    code = (
        "import resource\n"
        "from atlas.runtime import memory\n"
        "before = memory.available_memory()\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), -1))\n"
        "print(before > memory.available_memory(), 50 << 20 < memory.available_memory() <= 100 << 20)\n"
    )
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of processes are read from /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_memory_that_is_gone_when_it_is_allocated_is_reported_as_too_large(monkeypatch):
    monkeypatch.setattr(atlas.runtime.memory, "available_memory", lambda: 2**62)
    with pytest.raises(TooLargeError, match="cannot be had"):
        new_bytes(2**60)
    store = Atlas.open(declare(make(), "int32", shape=[2**57], chunk_shape=[2**57]))
    with pytest.raises(TooLargeError, match="cannot be allocated"):
        store.open_dataset("d").read_array("n")


def test_an_index_of_more_rows_than_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr(atlas.runtime.memory, "available_memory", lambda: 10**8)
    index = bytes(20_000)
    footer = Footer(1000, len(index), xxhash.xxh3_64_intdigest(index), 64 * len(index), 1)
    with pytest.raises(TooLargeError, match="1280001 rows"):
        decode_index(index, footer)


def test_string_chunks_that_claim_more_cells_than_their_block_has_bytes_are_damage():
    storage = declare(make(), "string", shape=[2**40], chunk_shape=[2**40])
    view = Atlas.open(storage).open_dataset("d")
    with pytest.raises(CorruptStoreError) as caught:
        view.read_array("s", [7], [1])
    assert (caught.value.dataset, caught.value.array) == ("d", "s")
    assert view.array_stats("s")["max"] == "c"  # it is in the index, and nothing is decoded


@pytest.mark.parametrize("cells", [2**40, 2**61, 2**62, 2**63 - 1])
def test_chunks_of_strings_whose_lengths_exceed_64_bits_are_found_by_verification(cells):
    found = atlas.verify(declare(make(), "string", shape=[cells], chunk_shape=[cells])).damage
    what = "its cells do not lie in its blocks"
    assert [(damage.dataset, damage.array, damage.what) for damage in found if damage.array] == [("d", "s", what)]


def test_a_chunk_that_claims_2_to_the_45_blocks_is_damage():
    """A column of it touches all of them."""
    storage = declare(make(), "int32", shape=[2**30, 2**30], chunk_shape=[2**30, 2**30], dims=["y", "x"])
    view = Atlas.open(storage).open_dataset("d")
    with pytest.raises(CorruptStoreError, match="blocks are missing") as caught:
        view.read_array("n", [0, 0], [2**20, 1])
    assert (caught.value.dataset, caught.value.array) == ("d", "n")


def test_blocks_of_another_segment_are_not_taken_for_those_of_a_chunk():
    storage = declare(make(codec="none"), "int32", shape=[2**16], chunk_shape=[2**16])
    with Atlas.open(storage) as store:
        view = store.create_dataset("e")
        view.define_array("n", "int32", ["x"], [2**18])
        view.write_array("n", [0], np.arange(2**18, dtype="i4"))
    store = Atlas.open(storage)
    assert len(store._session.view.load_index("n").sources) == 2
    assert store.open_dataset("e").read_array("n")[-1] == 2**18 - 1
    with pytest.raises(CorruptStoreError, match="blocks are missing") as caught:
        store.open_dataset("d").read_array("n", [0], [2**15])
    assert caught.value.key == store._session.view.load_index("n").sources[0].name


@pytest.mark.parametrize("axes", [64, 65, 200])
def test_arrays_of_more_axes_than_numpy_has_are_refused(axes):
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("d")
    ones = [1] * axes
    with pytest.raises(InvalidValueError, match="63 axes"):
        view.define_array("n", "int8", [f"d{at}" for at in range(axes)], ones)
    storage = declare(make(), "int32", shape=ones, chunk_shape=ones, dims=[f"d{at}" for at in range(axes)])
    with pytest.raises(CorruptStoreError, match="63 axes"):
        Atlas.open(storage)


def test_an_array_of_63_axes_is_kept():
    storage = MemoryStorage()
    ones = [1] * 63
    with Atlas.create(storage) as store:
        view = store.create_dataset("d")
        view.define_array("n", "int8", [f"d{at}" for at in range(63)], ones)
        view.write_array("n", [0] * 63, np.full(ones, 7, "i1"))
    store = Atlas.open(storage)
    assert store.read_array_across_stacked("n", ["d"]).shape == (1, *ones)
    assert store.open_dataset("d").read_array("n").item() == 7


def test_an_empty_array_whose_other_axes_numpy_cannot_have_is_refused():
    shape = [0, 2**40, 2**40]
    with pytest.raises(InvalidValueError, match="2\\*\\*63-1 bytes"):
        make_schema("int8", ["x", "y", "z"], shape, [1, 2**40, 2**40])
    store = Atlas.create(MemoryStorage())
    names = [f"d{at}" for at in range(20)]
    for view in store.create_datasets(names):
        view.define_array("n", "int8", ["x", "y"], [0, 2**62])
    with pytest.raises(TooLargeError, match="20 x 0 x 4611686018427387904"):
        store.read_array_across_stacked("n", names)


# Tables


def test_blocks_that_overlap_are_refused():
    """Else a file of a megabyte could hold a million blocks of a megabyte, and take hours to read."""
    storage = make(codec="none")

    def change(segment):
        for name, values in segment.columns.items():
            if name.startswith("block_"):
                segment.columns[name] = np.concatenate([values, values])

    forge_segment(storage, "n", change)
    with pytest.raises(CorruptStoreError, match="more bytes together"):
        Atlas.open(storage).open_dataset("d").read_array("n")


def test_rows_outside_of_the_grid_are_of_no_chunk(recwarn):
    """They are not shown, not counted and not compacted."""
    storage = make()

    def change(segment):
        for name, values in segment.columns.items():
            if not name.startswith(("block_", "text")):
                last = values[-1:] + np.array([1000], values.dtype) if name == "chunk" else values[-1:]
                segment.columns[name] = np.concatenate([values, last])

    for array in ("n", "s"):
        forge_segment(storage, array, change)
    store = Atlas.open(storage)
    view = store.open_dataset("d")
    assert view.array_stats("s")["max"] == "c"
    store.compact()
    for opened in (store, Atlas.open(storage)):
        view = opened.open_dataset("d")
        assert view.read_array("n").tolist() == list(range(6))
        assert view.read_array("s").tolist() == ["a", "b", "c"]
    assert not recwarn.list


def test_rows_of_an_array_without_cells_are_of_no_chunk():
    storage = declare(make(), "string", shape=[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = Atlas.open(storage)
        view = store.open_dataset("d")
        assert view.read_array("s").tolist() == []
        found = view.array_stats("s")
        assert (found["row_count"], found["min"]) == (0, None)
        store.compact()


def test_many_small_chunks_are_batched_in_time_that_grows_with_their_number():
    count = 200_000
    began = time.monotonic()
    batches = list(chunk_batches(np.arange(count), make_schema("int8", ["x"], [count], [1]), 16 << 20))
    assert time.monotonic() - began < 20  # it took minutes where each chunk was sought among all
    assert [chunk for chunk, _ in batches] == list(range(count))
    assert all(at.tolist() == [chunk] for chunk, at in batches[:100])


def test_string_chunks_that_overlap_are_damage():
    """Else a small block could hold any number of large chunks, and reading a cell of each would take for ever."""
    storage = MemoryStorage()
    store = Atlas.create(storage)
    names = [f"d{at}" for at in range(200)]
    for view in store.create_datasets(names):
        view.define_array("s", "string", ["x"], [1000], [500])
        view.write_array("s", [0], np.array([view.name * 60] * 1000, object))
    store.flush()
    store.compact(keep_versions=1, keep_days=0)

    def change(segment):
        segment.columns["block"][:] = 0
        segment.columns["offset"][:] = 4 * (np.arange(segment.chunks) % 200)

    forge_segment(storage, "s", change)
    store = Atlas.open(storage)
    with pytest.raises(CorruptStoreError) as caught:
        store.read_array_across("s", names, [0], [1])
    assert caught.value.array == "s"

    def change_stats(segment):
        change(segment)
        segment.columns["dataset"][:] = 0
        segment.columns["chunk"][:] = np.arange(segment.chunks)

    forge_segment(storage, "s", change_stats)
    declare(storage, "string", shape=[400 * 500])
    with pytest.raises(CorruptStoreError, match="exceed it"):
        Atlas.open(storage).open_dataset("d0").array_stats("s")


def test_datasets_that_are_named_more_than_once_are_read_as_often():
    storage = make(strings=("", "", "b"))
    names = ["d"] * 5000
    found = Atlas.open(storage).read_array_across_stacked("s", names)
    assert found.tolist() == [["", "", "b"]] * 5000
    assert Atlas.open(storage).read_array_across_stacked("s", names, [2], [1]).tolist() == [["b"]] * 5000


def test_statistics_of_an_array_that_was_not_written_are_not_sought_in_those_of_others():
    """A million datasets that look alike took a million steps each."""

    class Counted:
        def __init__(self, values):
            self.values, self.asked = values, 0

        def __len__(self):
            return len(self.values)

        def searchsorted(self, value):
            return self.values.searchsorted(value)

        def item(self, at):
            self.asked += 1
            return self.values.item(at)

    store = Atlas.create(MemoryStorage())
    names = [f"d{at}" for at in range(100)]
    store.create_datasets(names)
    store.write_array_across_stacked("n", names, np.zeros((100, 2)))
    store.flush()
    statistics = Statistics(store._session.view.load_index("n"))
    statistics.runs._dataset = counted = Counted(statistics.runs._dataset)
    schema = make_schema("float64", ["x"], [2])
    assert statistics.find(0, 77, schema, BlockCache(CachePool(1 << 20))) is None
    assert counted.asked <= 4


def test_statistics_of_many_strings_in_one_large_block_decode_it_once(monkeypatch):
    storage = MemoryStorage()
    store = Atlas.create(storage)
    view = store.create_dataset("d")
    view.define_array("s", "string", ["x"], [20], [1])
    view.write_array("s", [0], np.array([f"{at:02d}" + "x" * 3000 for at in range(20)], object))
    store.flush()
    view = Atlas.open(storage).open_dataset("d")
    decoded = []
    decode = atlas.kernels.decode_block
    monkeypatch.setattr(atlas.kernels, "decode_block", lambda *given: decoded.append(given) or decode(*given))
    monkeypatch.setattr(BlockCache, "keep", lambda *given, **options: None)
    assert view.array_stats("s")["max"][:2] == "19"
    assert len(decoded) == 1


def test_a_segment_that_is_named_twice_is_refused():
    """Else a store could name a large index a million times."""

    def change(tree):
        tree["segments"] = tree["segments"] * 2

    with pytest.raises(CorruptStoreError, match="named twice"):
        Atlas.open(forge(make(), change))


def test_a_page_that_is_named_twice_is_refused_before_it_is_read():
    page = {"key": "pages/none.json.zst", "rows": 3, "first": 5, "last": 7}
    for pages in ([page, page], [page | {"first": 8}]):
        with pytest.raises(CorruptStoreError, match="do not ascend"):
            Atlas.open(forge(make(), lambda tree, pages=pages: tree.update(pages=pages, next_id=100)))


# Hashes


def test_schemas_do_not_have_one_hash_by_choice_of_their_numbers():
    """Python's hashes of integers repeat after 2**61-1, and a dictionary of equal hashes takes quadratic time."""
    repeat = 2**61 - 1
    schemas = [
        make_schema("int8", ["x", "y", "z"], [1, 1, 1], [1 + a * repeat, 1 + b * repeat, 1 + c * repeat])
        for a in range(4)
        for b in range(4)
        for c in range(4)
    ]
    assert len({hash(schema) for schema in schemas}) == 64
    assert hash(schemas[5]) == hash(make_schema("int8", ["x", "y", "z"], [1, 1, 1], schemas[5].chunk_shape))


def test_entries_do_not_have_one_hash_by_choice_of_their_generations():
    schema = make_schema("int8", ["x"], [1])
    assert len({hash(ArrayEntry("n", schema, 1 + at * (2**61 - 1))) for at in range(4)}) == 4
    assert hash(ArrayEntry("n", schema, 5)) == hash(ArrayEntry("n", make_schema("int8", ["x"], [1]), 5))


def test_long_integers_as_keys_of_an_attribute_are_few():
    view = Atlas.create(MemoryStorage()).create_dataset("d")
    keys = [(2**61 - 1) * number << 70 for number in range(1, 66)]
    set_exact_attribute(view, "k", dict.fromkeys(keys[:64], 1))
    assert exact_attributes(view)["k"] == dict.fromkeys(keys[:64], 1)
    with pytest.raises(InvalidValueError, match="64 keys of more than 64 bits"):
        set_exact_attribute(view, "k", dict.fromkeys(keys, 1))
    encoded = {"$": "dict", "v": [[{"$": "int", "v": f"{key:x}"}, 1] for key in keys]}
    with pytest.raises(InvalidValueError, match="64 bits"):
        decode_value(encoded)


def test_an_attribute_of_two_billion_empty_rows_is_refused():
    """Shown as lists it would take all memory there is."""
    with pytest.raises(InvalidValueError, match="shape"):
        decode_value({"$": "array", "t": "<f8", "s": [2**31, 0], "v": ""})
    with pytest.raises(InvalidValueError, match="shape"):
        decode_value({"$": "text", "s": [2**31, 0], "v": []})
    view = Atlas.create(MemoryStorage()).create_dataset("d")
    with pytest.raises(InvalidValueError, match="65536 rows"):
        set_exact_attribute(view, "k", np.zeros((2**31, 0)))
    set_exact_attribute(view, "k", np.zeros((3, 0)))
    assert exact_attributes(view)["k"].shape == (3, 0)


def test_memory_that_runs_out_beside_a_result_is_reported_as_too_large(monkeypatch):
    def fail(*given):
        raise MemoryError

    view = Atlas.open(make()).open_dataset("d")
    monkeypatch.setattr(atlas.kernels, "find_chunks", fail)
    with pytest.raises(TooLargeError, match="'n'"):
        view.read_array("n")


def test_a_key_of_a_million_dots_is_given_its_owner_in_no_time():
    key = "a." + "." * 10**6
    began = time.monotonic()
    found = assign_attributes({key: 1, "a.b.c": 2, "a.b": 3, "x": 4, ".": 5}, ["a", "a.b", "x"])
    assert time.monotonic() - began < 5  # it took an hour where every dot was tried
    assert found.variables == {"a": {"." * 10**6: 1, "b": 3}, "a.b": {"c": 2}, "x": {}}
    assert found.dataset == {"x": 4, ".": 5}


# Writing


def test_writing_a_few_cells_of_a_chunk_of_petabytes_is_refused_and_changes_nothing():
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("d")
    view.define_array("n", "int32", ["x"], [PETA], [PETA])
    with pytest.raises(TooLargeError):
        view.write_array("n", [0], np.arange(3, dtype="i4"))
    store.flush()
    assert view.array_stats("n") is None


# Documents

DEEP = Raw(b"[" * 1000 + b"]" * 1000, b"\x91" * 1000 + b"\x90")


@pytest.mark.parametrize("meta_format", ["json", "msgpack"])
@pytest.mark.parametrize(
    "field", ["next_id", "version", "deleted", "pages", "rows", "dropped", "segments", "codec", "store"]
)
def test_fields_nested_a_thousand_deep_are_damage(field, meta_format):
    storage = forge(make(meta_format=meta_format), lambda tree: tree.update({field: DEEP}))
    with pytest.raises(CorruptStoreError):
        Atlas.open(storage)


@pytest.mark.parametrize("meta_format", ["json", "msgpack"])
@pytest.mark.parametrize(
    "table",
    [
        "names",
        "ids",
        "schema_table",
        "layout_table",
        "keyset_table",
        "attributes",
        "array_attributes",
        "attribute_table",
        "array_attribute_table",
    ],
)
def test_entries_nested_a_thousand_deep_are_damage(table, meta_format):
    storage = forge(make(meta_format=meta_format), lambda tree: tree["rows"].update({table: [DEEP]}))
    with pytest.raises(CorruptStoreError):
        Atlas.open(storage)


@pytest.mark.parametrize("meta_format", ["json", "msgpack"])
@pytest.mark.parametrize("field", ["action", "time", "message", "store", "rows", "deleted"])
def test_verification_reports_a_commit_nested_a_thousand_deep(field, meta_format):
    storage = make(meta_format=meta_format)
    store = Atlas.open(storage)
    store["d"].set_attribute("k", 2)
    store.flush()
    report = atlas.verify(forge(storage, lambda tree: tree.update({field: DEEP}), "commits/"))
    assert max(key for key in storage.list() if key.startswith("commits/")) in {found.file for found in report.damage}


@pytest.mark.parametrize("meta_format", ["json", "msgpack"])
@pytest.mark.parametrize("depth", [65, 300, 480, 1000])
def test_an_attribute_nested_deep_is_refused_where_it_is_read_or_written(meta_format, depth):
    deep = Raw(b'{"$":"list","v":[' * depth + b"]}" * depth, b"\x82\xa1$\xa4list\xa1v\x91" * depth + b"\x90")
    fields = {
        "value_table": [deep],
        "keyset_table": [["n.k"]],
        "attribute_table": [[0]],
        "array_attribute_table": [[0, 0]],
    }
    storage = forge(make(meta_format=meta_format), lambda tree: tree["rows"].update(fields))
    assert atlas.verify(storage).damage
    try:
        store = Atlas.open(storage)
    except CorruptStoreError:  # more than a document of that encoding may nest
        return
    try:
        assert store.read_array_across_stacked("n", ["d"]).tolist() == [list(range(6))]
    except CorruptStoreError:
        assert depth > 65
    view = store.open_dataset("d")
    assert view.read_array("n").tolist() == list(range(6))
    with pytest.raises(AtlasError):
        view.attributes()
    view.set_attribute("other", 1)
    try:
        store.flush()
    except AtlasError:
        assert depth > 65


@pytest.mark.parametrize("bits", ["7ff0000000000001", "fff4000000000000"])
def test_fills_that_numpy_warns_of_are_read(bits):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        store.create_dataset("d").define_array("f", "float32", ["x"], [2], fill_value=1.0)
    (key,) = storage.list("commits")
    tree = documents.decode(key, storage.read(key))
    tree["rows"]["schema_table"][0]["fill"] = {"float64": bits}
    storage.replace(key, documents.encode(key, tree))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isfinite(Atlas.open(storage).open_dataset("d").read_array("f")).any()


@pytest.mark.parametrize("dtype", ["string", "float64"])
def test_a_box_of_an_array_without_axes_is_an_array(dtype):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        view = store.create_dataset("d")
        for name in ("a", "b"):
            view.define_array(name, dtype, [], [])
            view.write_array(name, [], np.array("text", object) if dtype == "string" else np.array(1.5))
    view = Atlas.open(storage).open_dataset("d")
    for _ in range(2):  # the second time from a block that is kept
        for box in (view.read_array("a"), view.read_array("a", [], []), view.read_array("a", [])):
            assert isinstance(box, np.ndarray)
            assert box.shape == ()
            assert box.item() in ("text", 1.5)


@pytest.mark.parametrize("marker", ["datetime64[0ns]", "datetime64[00s]", "timedelta64[0D]"])
def test_a_unit_of_nothing_is_not_given_to_numpy(marker):
    store = Atlas.create(MemoryStorage())
    kind = "timestamp_nanoseconds" if marker.startswith("datetime64") else "int64"
    view = store.create_dataset("d")
    view.define_array("t", kind, ["x"], [2])
    view.write_array("t", [0], np.array([5, 7], np.int64))
    assert decoded_dtype(marker, kind) is None
    set_exact_attribute(view, ("t", DTYPE_KEY), marker)
    store.flush()
    assert store.to_xarray("d")["t"].shape == (2,)


@pytest.mark.parametrize("dtype", ["<M8[0ns]", "<m8[000D]"])
def test_an_attribute_in_a_unit_of_nothing_is_refused(dtype):
    cell = {"$": "np", "t": dtype, "v": "BQAAAAAAAAA="}
    for value in (cell, {**cell, "$": "array", "s": [1]}):
        with pytest.raises(ValueError, match="dtype of a"):
            decode_value(value)


def test_verifying_a_chunk_that_claims_2_to_the_45_blocks_is_damage():
    store = Atlas.create(MemoryStorage(), codec="none")
    view = store.create_dataset("d")
    view.define_array("t", "float64", ["x"], [200_000])
    view.write_array("t", [0], np.random.default_rng(0).random(200_000))
    store.flush()
    session = store._session
    schema = make_schema("float64", ["x"], [2**58])
    row = session.catalog.row_by_name["d"]
    entry = replace(session.catalog.layout(row)[0], schema=schema)
    session.catalog.layout_table[int(session.catalog.layouts[row])] = (entry,)
    session.catalog._layout_table._dicts.clear()
    assert session.committer.writer.checkpoint(session.catalog, force=True)
    reported = [found.what for found in store.verify().damage if (found.dataset, found.array) == ("d", "t")]
    assert reported == ["its cells do not lie in its blocks"]


def test_a_checkpoint_that_claims_version_2_to_the_60_is_refused_at_once():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    store.create_dataset("d")
    store.flush()
    store.compact()
    encoding = store._session.log.config.encoding
    document = encoding.decode(storage.read("atlas.json"))
    storage.replace("atlas.json", encoding.encode(document | {"version": 2**60}))
    opened = Atlas.open(storage)
    with pytest.raises(CorruptStoreError, match="is missing"):
        opened.history()
    report = opened.verify()
    # Of a run of commits that may be in a pack, one piece of damage where all are missing.
    assert 255 < len(report.damage) < 270
    assert any("and all commits up to version 1152921504606846976 are" in found.what for found in report.damage)
