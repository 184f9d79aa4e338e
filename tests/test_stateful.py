"""The whole API, in any order, against a store made of dictionaries and NumPy arrays."""

from __future__ import annotations

import math
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atlas import Atlas, AtlasError
from atlas.format.block_types import FILTERS
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage.memory import MemoryStorage
from tests.columns import check_attributes, check_statistics
from tests.model import MEMORY, Model, ModelArray, ModelDataset, blank, identical

DATASETS = ["a", "ü.%2F", "#1 日本\\~"]
ARRAYS = ["x", "ö#% 日"]
"""The first is a coordinate where it has one dimension: equal chunks of it are stored once."""
DIMS = ["x", "y", "z.w"]
DTYPES = [*MEMORY]
TEXTS = ["", "a", "b", "zebra", "ä", "日本語", "json:[1]", "a\0b", "\n", "x" * 70]
BITS = {
    "float32": [0.0, -0.0, 1.5, -7.0, math.nan, math.inf, -math.inf, 1e-42, 3.4e38],
    "float64": [0.0, -0.0, 1.5, -7.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308],
    "float16": [0.0, -0.0, 1.5, -7.0, math.nan, math.inf, -math.inf, 6e-8, 65504.0],
    "bool": [False, True],
    "string": [*TEXTS, None, "y" * 200],
    "bytes": [b"", b"a", b"\xff\0", None, b"x" * 70, b"y" * 200],
} | {
    name: [0, 1, -1, np.iinfo(np.int64).min, np.iinfo(np.int64).max, 1_700_000_000 * 10**9]
    for name, dtype in MEMORY.items()
    if dtype.kind in "mM"
} | {
    name: [0, 1, 2, int(np.iinfo(name).min), int(np.iinfo(name).max), 100]
    for name, dtype in MEMORY.items()
    if dtype.kind in "iu"
}  # fmt: skip
"""Cells that are likely to be mixed up, of each dtype."""

SMALL_LIMITS = Limits(
    own_block=16, shared_block=64, cut_over=64, cut_into=16, digested_bytes=8,
    raw_bytes=200, checked_bytes=50, encoded_bytes=400, direct_bytes=100, run_bytes=64, partial_bytes=64,
    task_bytes=64, large_bytes=128, parallel_bytes=200,
    lookup_chunks=50, batch_bytes=128, thread_bytes=32,
    page_rows=2, small_checkpoint=0, many_commits=3, pack_commits=3,
    copied_bytes=64, waiting_bytes=128,
)  # fmt: skip
"""They make pages, shared blocks, cut chunks, spills and several batches out of a handful of cells."""

attribute_values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.sampled_from([*TEXTS, "2020-01-01", "2020-01-01T00:00:00Z", "json:", "json:{", "nan", "1"]),
    st.integers(-(2**63) + 1, 2**63 - 1).map(lambda ns: np.datetime64(ns, "ns")),
)


def shown(value):
    """What an attribute set to `value` reads as."""
    return int(value.astype(np.int64)) if isinstance(value, np.datetime64) else value


def alike(a, b):
    """Whether two attribute values are the same to the last bit."""
    if type(a) is not type(b):
        return False
    return np.float64(a).tobytes() == np.float64(b).tobytes() if isinstance(a, float) else a == b


class Stores(RuleBasedStateMachine):
    """A store on disk or in memory, and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="atlas-stateful-"))
        self.patch = pytest.MonkeyPatch()
        self.model = Model()

    @initialize(
        memory=st.booleans(),
        small=st.booleans(),
        codec=st.sampled_from(["zstd", "LZ4", "none"]),
        filtering=st.sampled_from(["auto", *FILTERS]),
        meta_format=st.sampled_from(["json", "msgpack"]),
        meta_compression=st.sampled_from(["none", "zstd", "lz4"]),
    )
    def create_store(self, memory, small, codec, filtering, meta_format, meta_compression):
        if small:
            self.patch.setattr(limits, "DEFAULT", SMALL_LIMITS)
            self.patch.setattr(MemoryStorage, "coalesce_gap", 8)
        self.source = MemoryStorage() if memory else self.folder / "store"
        self.memory = memory
        self.store = Atlas.create(self.source, codec, meta_format, meta_compression, filter=filtering)
        for name in DATASETS[:2]:
            self.create_dataset(name)
            self.define(name, "x", "int32", (5, 4), (2, 3), -1)
            self.write(name, "x", (0, 0), np.arange(20, dtype="i4").reshape(5, 4))

    def teardown(self):
        try:
            if hasattr(self, "store"):
                self.compare(self.store, self.model.datasets)
                self.store.flush()
                self.compare(Atlas.open(self.source), self.model.datasets)
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    # Doing what never fails, to the store and to its model

    def define(self, name, array, dtype, shape, chunk, fill):
        dims = DIMS[: len(shape)]
        self.store.open_dataset(name).define_array(array, dtype, dims, shape, chunk, fill)
        model = ModelArray(dtype, tuple(dims), shape, shape if chunk is None else chunk, fill)
        self.model.datasets[name].arrays[array] = model
        self.model.pending = True

    def write(self, name, array, start, cells):
        self.store.open_dataset(name).write_array(array, list(start), cells)
        self.model.datasets[name].arrays[array].write(start, cells)
        self.model.pending = self.model.pending or bool(cells.size)

    # Choosing

    def a_dataset(self, data):
        name = data.draw(st.sampled_from(sorted(self.model.datasets)), label="dataset")
        return name, self.model.datasets[name], self.store.open_dataset(name)

    def an_array(self, data):
        choices = [(name, key) for name, found in self.model.datasets.items() for key in found.arrays]
        name, key = data.draw(st.sampled_from(choices), label="array")
        return name, key, self.model.datasets[name].arrays[key], self.store.open_dataset(name)

    def cells(self, data, dtype, shape):
        count = math.prod(shape)
        few = data.draw(st.lists(st.sampled_from(BITS[dtype]), min_size=1, max_size=4), label="cells")
        chosen = [few[i] for i in np.random.default_rng(count).integers(0, len(few), count)]
        if MEMORY[dtype].kind == "O":
            out = np.empty(count, object)
            out[:] = chosen
            return out.reshape(shape)
        if MEMORY[dtype].kind in "mM":
            return np.array(chosen, np.int64).reshape(shape).view(MEMORY[dtype])
        return np.array(chosen, MEMORY[dtype]).reshape(shape)

    @staticmethod
    def a_box(data, shape):
        start = tuple(data.draw(st.integers(0, n), label="start") for n in shape)
        return start, tuple(data.draw(st.integers(0, n - s), label="count") for s, n in zip(start, shape, strict=True))

    has_dataset = precondition(lambda self: self.model.datasets)
    has_array = precondition(lambda self: any(found.arrays for found in self.model.datasets.values()))

    # Datasets

    @rule(name=st.sampled_from(DATASETS))
    def create_dataset(self, name):
        if name in self.model.datasets:
            with pytest.raises(FileExistsError):
                self.store.create_dataset(name)
        else:
            assert self.store.create_dataset(name).name == name
            self.model.datasets[name] = ModelDataset()
            self.model.pending = True

    @rule(name=st.sampled_from(DATASETS))
    def delete_dataset(self, name):
        if name in self.model.datasets:
            view = self.store.open_dataset(name)
            self.store.delete_dataset(name)
            del self.model.datasets[name]
            self.model.pending = True
            with pytest.raises(KeyError):
                view.list_arrays()
        else:
            for call in (self.store.delete_dataset, self.store.open_dataset, self.store.to_xarray):
                with pytest.raises(KeyError):
                    call(name)

    @rule(names=st.lists(st.sampled_from(DATASETS), max_size=3))
    def create_datasets(self, names):
        if len(set(names)) < len(names) or set(names) & set(self.model.datasets):
            with pytest.raises((FileExistsError, ValueError)):
                self.store.create_datasets(names)
            return
        assert [view.name for view in self.store.create_datasets(names)] == names
        for name in names:
            self.model.datasets[name] = ModelDataset()
            self.model.pending = True

    # Arrays

    def those_without(self, data, array):
        """All datasets that lack an array, in any order."""
        lacking = [name for name, found in self.model.datasets.items() if array not in found.arrays]
        return data.draw(st.permutations(lacking), label="names")

    def model_written(self, name, array, found, cells):
        """Add an array to the model of a dataset, with all its cells written."""
        self.model.datasets[name].arrays[array] = found
        found.write((0,) * len(found.shape), np.asarray(cells, MEMORY[found.dtype]))
        self.model.pending = True

    @has_dataset
    # Objects are text to this call, whatever they hold.
    @rule(
        data=st.data(),
        array=st.sampled_from(ARRAYS),
        dtype=st.sampled_from([name for name in DTYPES if name != "bytes"]),
        filled=st.booleans(),
    )
    def write_across(self, data, array, dtype, filled):
        names = self.those_without(data, array)
        shape = tuple(data.draw(st.lists(st.integers(0, 7), max_size=3), label="shape"))
        chunk = tuple(data.draw(st.integers(min(n, 1), n + 2), label="chunk") for n in shape)
        fill = data.draw(st.sampled_from(BITS[dtype]), label="fill") if filled else None
        cells = self.cells(data, dtype, (len(names), *shape))
        if len(names) < len(self.model.datasets):
            everywhere = list(self.model.datasets)
            with pytest.raises(FileExistsError):
                self.store.write_array_across_stacked(
                    array, everywhere, self.cells(data, dtype, (len(everywhere), *shape))
                )
        dims = DIMS[: len(shape)]
        self.store.write_array_across_stacked(array, names, cells, dims, chunk, fill)
        for name, part in zip(names, cells, strict=True):
            self.model_written(name, array, ModelArray(dtype, tuple(dims), shape, chunk, fill), part)

    @has_dataset
    @rule(
        data=st.data(),
        array=st.sampled_from(ARRAYS),
        dtype=st.sampled_from([name for name in DTYPES if name != "bytes"]),
        filled=st.booleans(),
    )
    def write_ragged(self, data, array, dtype, filled):
        names = self.those_without(data, array)
        sizes = data.draw(st.lists(st.integers(0, 7), min_size=len(names), max_size=len(names)), label="sizes")
        trailing = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2), label="trailing"))
        whole = data.draw(st.booleans(), label="whole")
        chunk = None if whole else tuple(data.draw(st.integers(1, 5), label="chunk") for _ in (0, *trailing))
        fill = data.draw(st.sampled_from(BITS[dtype]), label="fill") if filled else None
        cells = self.cells(data, dtype, (sum(sizes), *trailing))
        if len(names) < len(self.model.datasets):
            everywhere = list(self.model.datasets)
            with pytest.raises(FileExistsError):
                self.store.write_array_across_ragged(array, everywhere, cells[:0], [0] * len(everywhere))
        dims = DIMS[: cells.ndim]
        self.store.write_array_across_ragged(array, names, cells, sizes, dims, chunk, fill)
        for name, part in zip(names, np.split(cells, np.cumsum(sizes)[:-1]), strict=False):
            shape = part.shape if chunk is None else chunk
            self.model_written(name, array, ModelArray(dtype, tuple(dims), part.shape, shape, fill), part)

    @has_dataset
    @rule(data=st.data(), array=st.sampled_from(ARRAYS), dtype=st.sampled_from(DTYPES), filled=st.booleans())
    def define_array(self, data, array, dtype, filled):
        _, found, view = self.a_dataset(data)
        shape = tuple(data.draw(st.lists(st.integers(0, 7), max_size=3), label="shape"))
        if data.draw(st.booleans(), label="chunked"):
            chunk = tuple(data.draw(st.integers(min(n, 1), n + 2), label="chunk") for n in shape)
        else:
            chunk = None
        fill = data.draw(st.sampled_from(BITS[dtype]), label="fill") if filled else None
        dims = DIMS[: len(shape)]
        if array in found.arrays:
            with pytest.raises(FileExistsError):
                view.define_array(array, dtype, dims, shape, chunk, fill)
            return
        view.define_array(array, dtype, dims, shape, chunk, fill)
        found.arrays[array] = ModelArray(dtype, tuple(dims), shape, shape if chunk is None else chunk, fill)
        self.model.pending = True

    @has_array
    @rule(data=st.data(), whole=st.booleans())
    def write_array(self, data, whole):
        _, key, array, view = self.an_array(data)
        start, shape = ((0,) * len(array.shape), array.shape) if whole else self.a_box(data, array.shape)
        cells = self.cells(data, array.dtype, shape)
        source, expected = cells, cells.copy()
        match data.draw(st.sampled_from(["plain", "fortran", "swapped", "strided", "other"]), label="layout"):
            case "fortran":
                source = np.array(cells, order="F")
            case "swapped" if cells.dtype != object:
                source = cells.astype(cells.dtype.newbyteorder(">"))
            case "strided" if cells.ndim:
                source = np.repeat(cells, 2, axis=-1)[..., ::2]
            case "other" if cells.dtype.kind in "mM":
                source = cells.view(np.int64)
        kept = source.copy()
        view.write_array(key, list(start), source)
        assert identical(kept, source)
        if source.size and source.dtype.kind != "O":
            source[...] = source.ravel()[0]  # what was written must not follow
        array.write(start, expected)
        self.model.pending = self.model.pending or bool(cells.size)

    @has_array
    @rule(data=st.data())
    def delete_array(self, data):
        name, key, _, view = self.an_array(data)
        view.delete_array(key)
        self.model.datasets[name].delete_array(key)
        self.model.pending = True
        with pytest.raises(KeyError):
            view.delete_array(key)

    @has_array
    @rule(data=st.data(), by_start=st.booleans(), by_shape=st.booleans())
    def read_array(self, data, by_start, by_shape):
        name, key, array, view = self.an_array(data)
        start, shape = self.a_box(data, array.shape)
        begin = start if by_start else None
        if by_shape:
            count = shape if by_start else tuple(min(a, b) for a, b in zip(shape, array.shape, strict=True))
        else:
            count = None
        found = view.read_array(key, begin, count)
        assert identical(found, array.read(begin, count)), (name, key, found, array.read(begin, count))
        assert found.flags.c_contiguous
        assert found.flags.writeable
        if found.size:
            found[...] = found.ravel()[-1]  # what is read is the caller's own
        assert view.read_array("never", begin, count) is None

    @has_array
    @rule(data=st.data(), flushed=st.booleans())
    def define_array_again(self, data, flushed):
        name, key, array, view = self.an_array(data)
        self.cells_to(data, name, key)
        if data.draw(st.booleans(), label="flushed before"):
            self.store.flush()
            self.model.flush()
        view.delete_array(key)
        self.model.datasets[name].delete_array(key)
        self.define(name, key, array.dtype, array.shape, array.chunk_shape, array.fill)
        if flushed:
            self.store.flush()
            self.model.flush()
        self.cells_to(data, name, key)
        self.compare(self.store, self.model.datasets)

    @has_array
    @rule(data=st.data(), times=st.integers(2, 4))
    def write_over_flushes(self, data, times):
        name, key, _, _ = self.an_array(data)
        for _ in range(times):
            self.cells_to(data, name, key)
            self.store.flush()
            self.model.flush()
        self.compare(self.store, self.model.datasets)

    def cells_to(self, data, name, key):
        array = self.model.datasets[name].arrays[key]
        start, shape = self.a_box(data, array.shape)
        self.write(name, key, start, self.cells(data, array.dtype, shape))

    # Attributes

    @has_dataset
    @rule(
        data=st.data(), key=st.sampled_from(["k", "units", "x.units", "ü", "", "_x", "json:"]), value=attribute_values
    )
    def set_attribute(self, data, key, value):
        _, found, view = self.a_dataset(data)
        view.set_attribute(key, value)
        found.attributes[key] = shown(value)
        self.model.pending = True
        assert alike(view.get_attribute(key), shown(value))

    @has_dataset
    @rule(data=st.data(), key=st.sampled_from(["k", "units", "x.units"]))
    def delete_attribute(self, data, key):
        _, found, view = self.a_dataset(data)
        if key in found.attributes:
            view.delete_attribute(key)
            del found.attributes[key]
            self.model.pending = True
        else:
            with pytest.raises(KeyError):
                view.delete_attribute(key)
            assert view.get_attribute(key) is None

    # Bulk reads

    @rule(
        data=st.data(), array=st.sampled_from(ARRAYS), names=st.lists(st.sampled_from(DATASETS), min_size=1, max_size=6)
    )
    def read_across(self, data, array, names):
        held = [found.arrays.get(array) for found in map(self.model.datasets.get, names) if found is not None]
        shapes = [found.shape for found in held if found is not None]
        start, shape = None, None
        if shapes and len({len(s) for s in shapes}) == 1 and data.draw(st.booleans(), label="box"):
            start, shape = self.a_box(data, tuple(map(min, zip(*shapes, strict=True))))
        if array not in self.model.list_arrays():
            with pytest.raises(KeyError):
                self.store.read_array_across(array, names)
            return
        wanted = [self.model.datasets.get(name, ModelDataset()).arrays.get(array) for name in names]
        expected = [None if one is None else one.read(start, shape) for one in wanted]
        answer = self.store.read_array_across(array, names, start, shape)
        assert all(map(identical, answer, expected)), (answer, expected)
        if None in wanted:
            with pytest.raises(KeyError):
                self.store.read_array_across_stacked(array, names, start, shape)
        elif len({(one.shape, one.dtype) for one in wanted}) > 1:
            with pytest.raises(ValueError, match=r"stack|units"):
                self.store.read_array_across_stacked(array, names, start, shape)
        elif self.means_one(array, names):
            stacked = self.store.read_array_across_stacked(array, names, start, shape)
            assert identical(stacked, np.stack(expected)), (stacked, expected)
        self.check_ragged(array, names, start, shape, expected)

    def means_one(self, array, names):
        """Whether the datasets that have an array have one attribute `units` of it, to the letter, or none."""
        found = [self.model.datasets[name] for name in names if name in self.model.datasets]
        return len({repr(one.attributes.get(f"{array}.units")) for one in found if array in one.arrays}) <= 1

    def check_ragged(self, array, names, start, shape, expected):
        """Compare a ragged read with the boxes `expected`, None where a dataset or its array is missing."""
        rows = [row for row in expected if row is not None]
        wanted = [self.model.datasets.get(name, ModelDataset()).arrays.get(array) for name in names]
        held = [found for found in wanted if found is not None]
        if not rows:
            with pytest.raises(KeyError):
                self.store.read_array_across_ragged(array, names, start, shape)
        elif len({found.dtype for found in held}) > 1 or not rows[0].ndim or len({row.shape[1:] for row in rows}) > 1:
            with pytest.raises(ValueError, match=r"ragged|no axis along which|units"):
                self.store.read_array_across_ragged(array, names, start, shape)
        elif len({repr(one.fill) for one in held}) == 1 and self.means_one(array, names):
            found = self.store.read_array_across_ragged(array, names, start, shape)
            assert found.row_sizes.tolist() == [0 if row is None else len(row) for row in expected]
            assert identical(found.values, np.concatenate(rows)), (found, expected)

    # Durability

    @rule(how=st.sampled_from(["flush", "close", "with"]))
    def flush(self, how):
        if how == "with":
            with self.store:
                pass
        else:
            getattr(self.store, how)()
        self.model.flush()

    @rule()
    def compact(self):
        self.store.compact(keep_versions=1, keep_days=0)
        self.model.flush()

    @rule()
    def reopen(self):
        self.store = Atlas.open(self.source)
        self.model.revert()

    @rule(how=st.sampled_from(["here", "elsewhere", "pickle"]))
    def read_all(self, how):
        if how == "here":
            self.compare(self.store, self.model.datasets)
        elif how == "elsewhere" or self.memory:
            self.compare(Atlas.open(self.source), self.model.flushed)
        else:
            try:
                pickled = pickle.dumps(self.store)
            except ValueError:
                assert self.model.pending
                return
            self.compare(pickle.loads(pickled), self.model.flushed)
            self.compare(self.store, self.model.flushed)

    # Refusals, of which nothing may stay

    @rule(name=st.sampled_from(["", "a/b", "_a", ".", "..", "\ud800"]))
    def refuse_name(self, name):
        with pytest.raises(ValueError, match="name") as info:
            self.store.create_dataset(name)
        assert isinstance(info.value, AtlasError)
        for dataset in self.model.datasets:
            with pytest.raises(ValueError, match="name"):
                self.store.open_dataset(dataset).define_array(name, "int8", [], [])

    @has_dataset
    @rule(
        data=st.data(),
        wrong=st.sampled_from(
            [
                (ValueError, ("zz", "int99", ["x"], [1])),
                (NotImplementedError, ("zz", "binary", ["x"], [1])),
                (NotImplementedError, ("zz", np.complex64, ["x"], [1])),
                (TypeError, ("zz", "bool", ["x"], [1], None, 1)),
                (ValueError, ("zz", "int8", ["x"], [1, 2])),
                (ValueError, ("zz", "int8", ["x"], [1], [0])),
                (ValueError, ("zz", "int8", ["x"], [1], [1, 1])),
                (OverflowError, ("zz", "int8", ["x"], [-1])),
                (TypeError, ("zz", "int8", ["x"], [1.5])),
                (TypeError, ("zz", "int8", ["x"], [1], None, 1.0)),
                (TypeError, ("zz", "int8", ["x"], [1], None, True)),
                (OverflowError, ("zz", "int8", ["x"], [1], None, 128)),
                (TypeError, ("zz", "float32", ["x"], [1], None, "0")),
                (TypeError, ("zz", "string", ["x"], [1], None, 0)),
            ]
        ),
    )
    def refuse_definition(self, data, wrong):
        _, _, view = self.a_dataset(data)
        kind, arguments = wrong
        with pytest.raises(kind) as info:
            view.define_array(*arguments)
        assert isinstance(info.value, AtlasError)
        assert "zz" not in view.list_arrays()

    @has_array
    @rule(data=st.data())
    def refuse_write(self, data):
        _, key, array, view = self.an_array(data)
        origin, ndim = [0] * len(array.shape), len(array.shape)
        cells = blank_like(array)
        with pytest.raises(TypeError):
            view.write_array(key, origin, np.zeros(array.shape, np.complex128))
        with pytest.raises(TypeError):
            view.write_array(key, origin, cells.tolist())
        with pytest.raises(ValueError, match="dimensions"):
            view.write_array(key, [*origin, 0], cells)
        with pytest.raises(ValueError, match="dimensions"):
            view.write_array(key, origin, cells[..., None])
        with pytest.raises(KeyError):
            view.write_array("never", origin, cells)
        if ndim:
            with pytest.raises(OverflowError):
                view.write_array(key, [-1] * ndim, cells)
            with pytest.raises(ValueError, match="leaves"):
                view.write_array(key, list(array.shape), blank(array.dtype, (1,) * ndim, array.fill))
        if array.dtype == "string" and cells.size:
            cells[(0,) * ndim] = 3
            with pytest.raises(TypeError):
                view.write_array(key, origin, cells)

    @has_array
    @rule(data=st.data())
    def refuse_read(self, data):
        name, key, array, view = self.an_array(data)
        ndim = len(array.shape)
        for start, shape in (([0] * (ndim + 1), None), (None, [0] * (ndim + 1))):
            with pytest.raises(ValueError, match="dimensions"):
                view.read_array(key, start, shape)
            with pytest.raises(ValueError, match="dimensions"):
                self.store.read_array_across(key, [name], start, shape)
        if ndim:
            with pytest.raises(ValueError, match="leaves"):
                view.read_array(key, [n + 1 for n in array.shape])
            with pytest.raises(ValueError, match="leaves"):
                view.read_array(key, None, [n + 1 for n in array.shape])
            with pytest.raises(OverflowError):
                view.read_array(key, [-1] * ndim)
        with pytest.raises(ValueError, match="empty"):
            self.store.read_array_across(key, [])

    @has_dataset
    @rule(
        data=st.data(),
        wrong=st.sampled_from(
            [
                (ValueError, ("zz", None)),
                (ValueError, ("zz", b"x")),
                (ValueError, ("zz", [1])),
                (OverflowError, ("zz", 2**63)),
                (OverflowError, ("zz", 300, "uint8")),
                (TypeError, ("zz", "1", "int8")),
                (ValueError, ("zz", 1, "int99")),
                (TypeError, (1, 1)),
            ]
        ),
    )
    def refuse_attribute(self, data, wrong):
        _, _, view = self.a_dataset(data)
        kind, arguments = wrong
        with pytest.raises(kind) as info:
            view.set_attribute(*arguments)
        assert isinstance(info.value, AtlasError)

    # Comparing

    @invariant()
    def lists(self):
        if hasattr(self, "store"):
            assert self.store.list_datasets() == list(self.model.datasets)
            assert self.store.list_arrays() == self.model.list_arrays()
            assert repr(self.store) == f"<Atlas datasets={len(self.model.datasets)}>"

    @has_array
    @rule(data=st.data())
    def read_statistics(self, data):
        name, key, _, view = self.an_array(data)
        expected = self.model.stats(name, key)
        found = view.array_stats(key)
        assert same_statistics(found, expected), (name, key, found, expected)

    def compare(self, store, datasets):
        assert store.list_datasets() == list(datasets)
        check_attributes(store)
        for array in store.list_arrays():
            check_statistics(store, array)
        flushed = store is not self.store
        for name, expected in datasets.items():
            assert store.dataset_exists(name)
            view = store.open_dataset(name)
            assert view.list_arrays() == list(expected.arrays)
            found = view.attributes()
            assert list(found) == list(expected.attributes)
            assert all(map(alike, found.values(), expected.attributes.values())), (found, expected.attributes)
            for key, array in expected.arrays.items():
                assert view.array_meta(key) == array.meta()
                assert alike(view.array_fill_value(key), declared(array))
                cells = view.read_array(key)
                if not identical(cells, array.read()):
                    note(f"{name}/{key}: {cells!r} is not {array.read()!r}")
                    raise AssertionError((name, key))
                statistics = array.stats() if flushed else self.model.stats(name, key)
                assert same_statistics(view.array_stats(key), statistics), (
                    name,
                    key,
                    view.array_stats(key),
                    statistics,
                )


def declared(array):
    """The fill value as Python keeps it."""
    if array.fill is not None and array.dtype.startswith("float"):
        return float(array.fill)
    return array.fill


def blank_like(array):
    """Data that fits the array whole."""
    return np.array(array.cells)


def same_statistics(a, b):
    """Whether two statistics agree, type by type; the sign of zero is not compared."""
    if a is None or b is None:
        return a is b
    return list(a) == list(b) and all(type(a[k]) is type(b[k]) and a[k] == b[k] for k in a)


TestStores = Stores.TestCase
TestStores.pytestmark = [pytest.mark.timeout(0)]
