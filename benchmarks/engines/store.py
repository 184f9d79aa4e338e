"""This library and atlas-python 0.9.1, which have the same calls: each environment imports its own `atlas`."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Collection, Unsupported, Values, chunked, run_python, scanned
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Ours", "Store", "installed_version"]

_STATISTICS = ("row_count", "null_count", "min", "max")
_IN_TURN = 1000
"""The most datasets that are read one after another."""
_SCANNED = 65
"""Fields of the lazy array that dask reads: 125 MB."""


def installed_version() -> str:
    """Name and version of the package that this environment imports as `atlas`."""
    for name in ("atlas-python", "atlas-store"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


def _digits(lazy: Any) -> Values:
    """A number that dask computes, to three digits: the order of its additions decides the others."""
    return [np.array([f"{float(lazy.compute()):.3g}"], object)]


class Store(Collection):
    """A store with the default options of either library."""

    stacks_strings = False
    """Whether one call can read strings of many datasets."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        import atlas  # noqa: PLC0415

        self._atlas: Any = atlas.Atlas
        self._handle: Any = None
        self._compacted: Any = None
        self._appended = 0
        self._chunks: Any = None
        self._scanned: Any = None
        self._scans = 0

    @property
    def versions(self) -> str:
        return installed_version()

    @property
    def _dtype(self) -> str:
        return "string" if self.text else "float32"

    # Writing

    def prepare_write(self) -> None:
        self.clear()
        self._handle = None
        self._appended = 0

    prepare_write_each = prepare_write

    def write(self) -> None:
        self.write_each()

    def write_each(self) -> None:
        with self._atlas.create(self.path / "store") as store:
            for at, name in enumerate(self.work.names):
                self._add(store, name, at)

    def check_write_each(self) -> Values:
        return self.read_one()

    def _add(self, store: Any, name: str, at: int) -> None:
        work = self.work
        origin = [0] * len(work.shape)
        dataset = store.create_dataset(name)
        for variable, values in self.data.items():
            dataset.define_array(variable, self._dtype, work.dims, work.shape, work.chunks)
            dataset.write_array(variable, origin, values[at])

    # Reading

    def _slice(self, store: Any) -> Values:
        return [self._stack(store, variable, self.work.quarter) for variable in self.work.variables]

    def _stack(self, store: Any, variable: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The box of that shape at the origin of one variable of all datasets."""
        work = self.work
        origin = [0] * len(shape)
        if self.text and not self.stacks_strings:
            datasets = [store.open_dataset(name) for name in work.names]
            return np.stack([dataset.read_array(variable, origin, shape) for dataset in datasets])
        stacked: NDArray[Any] = store.read_array_across_stacked(variable, work.names, origin, shape)
        return stacked

    def open(self) -> None:
        self._atlas.open(self.path / "store")

    def open_slice(self) -> Values:
        return self._slice(self._atlas.open(self.path / "store"))

    def _open(self) -> Any:
        if self._handle is None:
            self._handle = self._atlas.open(self.path / "store")
        return self._handle

    def slice(self) -> Values:
        return self._slice(self._open())

    def read_all(self) -> Values:
        store = self._open()
        return [self._stack(store, variable, self.work.shape) for variable in self.work.variables]

    def to_xarray_many(self) -> Values:
        if self.text and not self.stacks_strings:
            raise Unsupported("it does not stack strings")
        dataset = self._open().to_xarray_many(self.work.names)
        return [dataset[variable].values for variable in self.work.variables]

    def read_one(self) -> Values:
        dataset = self._open().open_dataset(self.work.names[self.work.one])
        return [dataset.read_array(self.work.variables[0])]

    def prepare_read_often(self) -> None:
        self._view = self._open().open_dataset(self.work.names[self.work.one])
        self._view.read_array(self.work.variables[0])

    def read_often(self) -> Values:
        read, variable = self._view.read_array, self.work.variables[0]
        for _ in range(999):
            read(variable)
        return [read(variable)]

    def to_xarray(self) -> Values:
        dataset = self._open().to_xarray(self.work.names[self.work.one]).load()
        return [dataset[variable].values for variable in self.work.variables]

    def _write_one(self, path: Path, dims: list[str], values: NDArray[Any], chunks: tuple[int, ...]) -> Any:
        """Write a store of one dataset with one array, and open it."""
        with self._atlas.create(path) as store:
            dataset = store.create_dataset("one")
            dataset.define_array("values", "float32", dims, values.shape, chunks)
            dataset.write_array("values", [0] * values.ndim, values)
        return self._atlas.open(path)

    def _open_chunks(self) -> None:
        if self._chunks is None:
            values = chunked()
            self._chunks = self._write_one(self.folder / "lazy", ["chunk", "cell"], values, (1, values.shape[1]))

    def prepare_lazy(self) -> None:
        self._open_chunks()
        self.lazy()  # imports

    def lazy(self) -> None:
        self._lazy = self._chunks.to_xarray("one")

    def check_lazy(self) -> Values:
        return [self._lazy["values"].values]

    # Reading again

    def boxes(self) -> Values:
        store, variable, shape = self._open(), self.work.variables[0], self.work.quarter
        origin = [0] * len(shape)
        return [store.open_dataset(name).read_array(variable, origin, shape) for name in self.work.names[:_IN_TURN]]

    def prepare_small_chunks(self) -> None:
        self._open_chunks()
        self._view = self._chunks.open_dataset("one")

    def small_chunks(self) -> Values:
        return [self._view.read_array("values", [at, 0], [1, 64]) for at in range(1000)]

    def prepare_dask_first(self) -> None:
        self._scanned, self._scans = None, 0  # a handle that is dropped gives up what it has cached
        path = self.folder / "scanned"
        if not path.exists():
            fields = max(4, _SCANNED * self.work.datasets // WORKLOADS[self.work.name].datasets)
            self._write_one(path, ["t", "y", "x", "z"], scanned(fields), (1, 50, 50, 24))

    def dask_first(self) -> Values:
        self._scanned = self._atlas.open(self.folder / "scanned").to_xarray("one")["values"].data
        return self.dask_mean()

    def prepare_dask_mean(self) -> None:
        if self._scanned is None:
            self.prepare_dask_first()
            self.dask_first()
        if self._scans < 2:
            self.dask_mean()

    def dask_mean(self) -> Values:
        self._scans += 1
        return _digits(self._scanned.mean())

    prepare_dask_sum = prepare_dask_mean

    def dask_sum(self) -> Values:
        return _digits(self._scanned.sum())

    prepare_dask_rechunk = prepare_dask_mean

    def dask_rechunk(self) -> Values:
        return [self._scanned.rechunk((-1, 25, 100, 48)).compute()]

    # Statistics

    def array_stats(self) -> Values:
        store = self._open()
        # The smallest and largest string are bytes in one library and str in the other, and where cells are NaN, as in
        # real data, the largest is NaN in one library.
        compared = _STATISTICS[:2] if self.text or self.work.kind == "real" else _STATISTICS
        datasets = [store.open_dataset(name) for name in self.work.names]
        found = []
        for variable in self.work.variables:
            stats = [dataset.array_stats(variable) for dataset in datasets]
            found.append(np.array([[str(each[key]) for key in compared] for each in stats], object))
        return found

    # Starting

    def imports(self) -> None:
        run_python("-c", "import atlas")

    # Changing

    def append(self) -> None:
        store = self._open()
        self._appended += 1
        self._add(store, f"appended{self._appended:06d}", self.work.one)
        store.flush()

    def check_append(self) -> Values:
        store = self._atlas.open(self.path / "store")
        dataset = store.open_dataset(f"appended{self._appended:06d}")
        return [dataset.read_array(variable) for variable in self.work.variables]

    def prepare_compact(self) -> None:
        """Copy the store and delete every other dataset of the copy."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.path / "store", copy)
        self._compacted = self._atlas.open(copy)
        for name in self.work.names[0 if self.work.one % 2 else 1 :: 2]:
            self._compacted.delete_dataset(name)
        self._compacted.flush()

    def compact(self) -> None:
        self._compacted.compact(keep_versions=1, keep_days=0)

    def check_compact(self) -> Values:
        dataset = self._atlas.open(self.folder / "copy").open_dataset(self.work.names[self.work.one])
        return [dataset.read_array(variable) for variable in self.work.variables]


class Ours(Store):
    """With the calls that only this library has, and its compile time."""

    stacks_strings = True

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._coded: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        """Options of `Atlas.create` besides the codec."""

    def write(self) -> None:
        self._write_to(self.path / "store", "zstd", **self.options)

    def prepare_write_unsynced(self) -> None:
        shutil.rmtree(self.folder / "unsynced", ignore_errors=True)

    def write_unsynced(self) -> None:
        self._write_to(self.folder / "unsynced", "zstd", durable=False)

    def check_write_unsynced(self) -> Values:
        found = self._atlas.open(self.folder / "unsynced").open_dataset(self.work.names[self.work.one])
        read = [found.read_array(variable) for variable in self.work.variables]
        shutil.rmtree(self.folder / "unsynced")
        return read

    def write_as(self, codec: str) -> None:
        """Write the same datasets to a store with another codec."""
        self._write_to(self.path / codec, codec, **self.options)

    def _write_to(self, place: Path, codec: str, **options: Any) -> None:
        work = self.work
        with self._atlas.create(place, codec=codec, **options) as store:
            store.create_datasets(work.names)
            for variable, values in self.data.items():
                store.write_array_across_stacked(variable, work.names, values, work.dims, work.chunks)

    def slice_of(self, codec: str) -> Values:
        """Read a slice of that store with a new handle."""
        return self._slice(self._atlas.open(self.path / codec))

    def _prepare_codec(self, codec: str) -> None:
        if not (self.path / codec).exists():
            self.write_as(codec)
            self._coded[codec] = self._atlas.open(self.path / codec)

    # What safety costs

    prepare_cost_write = Store.prepare_write
    check_cost_write = Store.check_write_each

    def cost_write(self) -> None:
        """The same as `write`; the engines of `safety` do it with less safety."""
        self._write_to(self.path / "store", "zstd", **self.options)

    def cost_slice(self) -> Values:
        return self.slice()

    def cost_read(self) -> Values:
        return self.read_all()

    def prepare_write_dask(self) -> None:
        import dask.array as da  # noqa: PLC0415
        import xarray as xr  # noqa: PLC0415

        blocks = max(4, 256 * self.work.datasets // WORKLOADS[self.work.name].datasets)
        values = np.random.default_rng(5).random((1, 1024, 1024), np.float32)
        self._large = xr.Dataset({"values": (("t", "y", "x"), da.concatenate(
            [da.from_array(values, chunks=values.shape, name=f"values{at}") + np.float32(at) for at in range(blocks)]
        ))})  # fmt: skip
        shutil.rmtree(self.folder / "large", ignore_errors=True)

    def write_dask(self) -> None:
        with self._atlas.create(self.folder / "large") as store:
            store.add_xr_dataset(self._large, "large")

    def check_write_dask(self) -> Values:
        dataset = self._atlas.open(self.folder / "large").open_dataset("large")
        last = self._large.sizes["t"] - 1
        read = dataset.read_array("values", [last, 0, 0], [1, 1024, 1024])
        shutil.rmtree(self.folder / "large")
        assert (read == self._large["values"][last:].values).all()
        return [read]

    def prepare_slice_lz4(self) -> None:
        self._prepare_codec("lz4")

    def slice_lz4(self) -> Values:
        return self._slice(self._coded["lz4"])

    def prepare_read_plain(self) -> None:
        self._prepare_codec("none")

    def read_plain(self) -> Values:
        return [self._coded["none"].read_array_across_stacked(self.work.variables[0], self.work.names)]

    def first_read_empty(self) -> Values:
        with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as cache:
            return self.first_read_with({"NUMBA_CACHE_DIR": cache})
