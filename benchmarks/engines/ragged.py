"""Profiles of different lengths: this library, atlas-python 0.9.1, a Parquet list column, and one flat array.

The peers with a flat array keep the row sizes beside it in a file of NumPy. Every read returns values and row sizes, or
a list of an array for each dataset.
"""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Engine, Values
from benchmarks.engines.store import installed_version

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Blosc2", "Ours", "Parquet", "Seed", "TensorStore"]

_EVERY = 20
"""A part is every twentieth dataset."""
_IN_TURN = 1000
"""Datasets that are read one after another."""
_UNIT = 2**15
"""Cells of a chunk of a flat array: 128 KiB."""


def _rows(flat: NDArray[Any], sizes: NDArray[np.int64]) -> Values:
    """A view of each row of a flat array."""
    return [flat[first:stop] for first, stop in pairwise([0, *np.cumsum(sizes).tolist()])]


class _Ragged(Engine):
    """What all have in common."""

    prepare_write = Engine.clear

    @property
    def _flat(self) -> NDArray[Any]:
        return self.data[self.work.variables[0]]

    def check_write(self) -> Values:
        return [self.read_list()[self.work.one]]

    def open_flat(self) -> Values:
        """Open, and read the values and row sizes of all."""
        raise NotImplementedError

    def read_list(self) -> Values:
        """Read all datasets as a list of arrays."""
        raise NotImplementedError


class Seed(_Ragged):
    """A store, written dataset by dataset."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._atlas: Any = import_module("atlas").Atlas
        self._variable = work.variables[0]

    @property
    def versions(self) -> str:
        return installed_version()

    def _open(self) -> Any:
        if self._handle is None:
            self._handle = self._atlas.open(self.path / "store")
        return self._handle

    _handle: Any = None

    def prepare_write(self) -> None:
        self._handle = None
        self.clear()

    prepare_write_each = prepare_write

    def write_each(self) -> None:
        sizes = self.work.row_sizes
        with self._atlas.create(self.path / "store") as store:
            for name, row in zip(self.work.names, _rows(self._flat, sizes), strict=True):
                dataset = store.create_dataset(name)
                dataset.define_array(self._variable, "float32", ["level"], list(row.shape))
                dataset.write_array(self._variable, [0], row)

    write = write_each

    def check_write_each(self) -> Values:
        return self.check_write()

    def open_flat(self) -> Values:
        self._handle = None
        return self.read_flat()

    def read_flat(self) -> Values:
        rows = self.read_list()
        return [np.concatenate(rows), np.array([len(row) for row in rows])]

    def read_list(self) -> Values:
        found: Values = self._open().read_array_across(self._variable, self.work.names)
        return found

    def part_flat(self) -> Values:
        rows = self.part_list()
        return [np.concatenate(rows), np.array([len(row) for row in rows])]

    def part_list(self) -> Values:
        found: Values = self._open().read_array_across(self._variable, self.work.names[::_EVERY])
        return found

    def in_turn(self) -> Values:
        """Read 1,000 datasets one after another."""
        store = self._open()
        return [store.open_dataset(name).read_array(self._variable) for name in self.work.names[:_IN_TURN]]

    def first_list(self) -> Values:
        """Read the same 1,000 in one call."""
        found: Values = self._open().read_array_across(self._variable, self.work.names[:_IN_TURN])
        return found


class Ours(Seed):
    """The ragged calls."""

    def write(self) -> None:
        names = self.work.names
        with self._atlas.create(self.path / "store") as store:
            store.create_datasets(names)
            store.write_array_across_ragged(self._variable, names, self._flat, self.work.row_sizes, ["level"])

    def prepare_write_even(self) -> None:
        shutil.rmtree(self.folder / "even", ignore_errors=True)
        os.sync()

    def write_even(self) -> None:
        """Write as many cells in rows of one length, to another store."""
        names = self.work.names
        even = len(self._flat) // len(names)
        with self._atlas.create(self.folder / "even") as store:
            store.create_datasets(names)
            values = self._flat[: even * len(names)].reshape(-1, even)
            store.write_array_across_stacked(self._variable, names, values, ["level"])

    def read_flat(self) -> Values:
        found = self._open().read_array_across_ragged(self._variable, self.work.names)
        return [found.values, found.row_sizes]

    def part_flat(self) -> Values:
        found = self._open().read_array_across_ragged(self._variable, self.work.names[::_EVERY])
        return [found.values, found.row_sizes]


class Parquet(_Ragged):
    """A row for each dataset, with a list of its values."""

    package = "pyarrow"

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._arrow: Any = import_module("pyarrow")
        self._parquet: Any = import_module("pyarrow.parquet")
        self._file = str(self.path / "profiles.parquet")

    def write(self) -> None:
        arrow = self._arrow
        offsets = np.concatenate([[0], np.cumsum(self.work.row_sizes)]).astype(np.int32)
        values = arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(self._flat))
        table = arrow.table({"name": self.work.names, "values": values})
        self._parquet.write_table(table, self._file, compression="zstd", use_byte_stream_split=["values.list.element"],
                                  use_dictionary=["name"])  # fmt: skip

    def read_flat(self) -> Values:
        column = self._parquet.read_table(self._file, columns=["values"]).column("values").combine_chunks()
        return [column.flatten().to_numpy(), np.diff(column.offsets.to_numpy()).astype(np.int64)]

    open_flat = read_flat

    def read_list(self) -> Values:
        return _rows(*self.read_flat())

    def part_flat(self) -> Values:
        table = self._parquet.read_table(self._file, columns=["values"])
        column = table.column("values").combine_chunks().take(np.arange(0, self.work.datasets, _EVERY))
        return [column.flatten().to_numpy(), np.diff(column.offsets.to_numpy()).astype(np.int64)]

    def part_list(self) -> Values:
        return _rows(*self.part_flat())


class _Flat(_Ragged):
    """One flat array, and the row sizes beside it."""

    def write(self) -> None:
        self._create(self._flat)
        np.save(self.path / "sizes.npy", self.work.row_sizes)

    def _create(self, values: NDArray[Any]) -> None:
        raise NotImplementedError

    def _read(self) -> NDArray[Any]:
        """Open the array and read all of it."""
        raise NotImplementedError

    def read_flat(self) -> Values:
        return [self._read(), np.load(self.path / "sizes.npy")]

    open_flat = read_flat

    def read_list(self) -> Values:
        return _rows(*self.read_flat())

    def part_list(self) -> Values:
        # All chunks hold some of these rows: reading all of them is the fastest way.
        return self.read_list()[::_EVERY]

    def part_flat(self) -> Values:
        rows = self.part_list()
        return [np.concatenate(rows), np.array([len(row) for row in rows])]


class TensorStore(_Flat):
    """A sharded zarr 3 array: zstd level 1."""

    package = "tensorstore"

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._module: Any = import_module("tensorstore")
        self._spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{self.path / 'flat'}/"}}

    def _create(self, values: NDArray[Any]) -> None:
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        inner = [little, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
        index = [little, {"name": "crc32c"}]
        sharding = {"chunk_shape": [_UNIT], "codecs": inner, "index_codecs": index, "index_location": "end"}
        chunks = -(-len(values) // _UNIT)
        metadata = {
            "shape": values.shape,
            "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunks * _UNIT]}},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        }
        self._module.open(self._spec | {"metadata": metadata, "create": True}).result().write(values).result()

    def _read(self) -> NDArray[Any]:
        found: NDArray[Any] = self._module.open(self._spec, open=True, read=True).result().read().result()
        return found


class Blosc2(_Flat):
    """A blosc2 array: bit-shuffle and zstd level 1."""

    package = "blosc2"

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._module: Any = import_module("blosc2")

    def _create(self, values: NDArray[Any]) -> None:
        blosc2 = self._module
        packing = blosc2.CParams(codec=blosc2.Codec.ZSTD, clevel=1, filters=[blosc2.Filter.BITSHUFFLE], typesize=4)
        chunk = min(len(values), 2**20)
        blosc2.asarray(values, urlpath=str(self.path / "flat.b2nd"), mode="w", chunks=(chunk,),
                       blocks=(min(chunk, _UNIT),), cparams=packing)  # fmt: skip

    def _read(self) -> NDArray[Any]:
        return np.asarray(self._module.open(str(self.path / "flat.b2nd"), mode="r")[:])
