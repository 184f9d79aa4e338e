"""A store and its model side by side: what is done to the one is done to dictionaries and NumPy arrays too."""

from __future__ import annotations

import copy
import datetime as dt
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.dataset import exact_attributes
from atlas.format.attributes import Timestamp
from atlas.format.schema import make_schema
from tests.exact import set_exact_attribute
from tests.independent_reader import CELLS, Time, read_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas import Atlas


@dataclass
class ArrayModel:
    dtype: str
    dims: list[str]
    shape: list[int]
    chunk_shape: list[int]
    fill: Any
    nan_is_missing: bool = False
    values: np.ndarray = field(init=False)
    """Cells as read, but int64 for times; objects for strings and bytes."""
    covered: np.ndarray = field(init=False)
    """Cells of chunks that were written to."""

    def __post_init__(self):
        default = {"string": "", "bytes": b""}.get(self.dtype, 0) if self.fill is None else self.fill
        self.values = np.full(self.shape, default, object if self.is_text else CELLS[self.dtype])
        self.covered = np.zeros(self.shape, bool)

    @property
    def is_text(self):
        return self.dtype in {"string", "bytes"}

    def write(self, start, data):
        data = data.view("i8") if data.dtype.kind in "mM" else data
        if self.is_text and self.fill is not None:
            data = np.array([self.fill if cell is None else cell for cell in data.ravel().tolist()], object).reshape(
                data.shape
            )
        region = tuple(slice(s, s + n) for s, n in zip(start, data.shape, strict=True))
        self.values[region] = data if data.ndim else data[()]
        if data.size:
            edges = zip(start, data.shape, self.chunk_shape, strict=True)
            self.covered[tuple(slice(s // c * c, -(-(s + n) // c) * c) for s, n, c in edges)] = True

    def statistics(self) -> dict[str, Any] | None:
        if not self.covered.any():
            return None
        cells = self.values[self.covered].tolist()
        nans = sum(map(self.is_nan, self.values.ravel().tolist()))
        kept = [cell for cell in cells if not (self.fill is not None and same(cell, self.fill_cell()))]
        kept = [cell for cell in kept if cell is not None and not (self.nan_is_missing and self.is_nan(cell))]
        nulls = self.values.size - len(kept)
        # -0.0 counts as 0.0.
        kept = [cell + 0.0 if isinstance(cell, float) else cell for cell in kept if not self.is_nan(cell)]
        low, high = min(kept, default=None), max(kept, default=None)
        return {"row_count": self.values.size, "null_count": nulls, "min": low, "max": high, "nan_count": nans}

    def is_nan(self, cell):
        return cell == -(2**63) if is_time(self.dtype) else cell != cell

    def fill_cell(self):
        return self.fill if self.is_text else np.array(self.fill).astype(CELLS[self.dtype]).item()


def is_time(dtype):
    return dtype.startswith(("time", "datetime"))


def same(one, other):
    return one == other or (one != one and other != other)


@dataclass
class DatasetModel:
    arrays: dict[str, ArrayModel] = field(default_factory=dict)
    attributes: dict[Any, Any] = field(default_factory=dict)


class Fleet:
    """The model, and the store it stands for unless that is None."""

    def __init__(self, store: Atlas | None = None):
        self.store = store
        self.datasets: dict[str, DatasetModel] = {}

    def _view(self, name: str):
        assert self.store is not None
        return self.store.open_dataset(name)

    def create(self, name: str) -> None:
        self.datasets[name] = DatasetModel()
        if self.store:
            self.store.create_dataset(name)

    def delete(self, name: str) -> None:
        del self.datasets[name]
        if self.store:
            self.store.delete_dataset(name)

    def define(
        self,
        dataset: str,
        array: str,
        dtype: str,
        shape: Sequence[int],
        chunks: Sequence[int] | None = None,
        fill: Any = None,
        dims: Sequence[str] | None = None,
        nan_is_missing: bool = False,
    ) -> None:
        names = [f"dim{axis}" for axis in range(len(shape))] if dims is None else list(dims)
        model = ArrayModel(dtype, names, list(shape), list(shape if chunks is None else chunks), fill, nan_is_missing)
        self.datasets[dataset].arrays[array] = model
        if self.store and nan_is_missing:  # as of variables that xarray has decoded
            schema = make_schema(dtype, names, shape, chunks, fill, nan_is_missing=True)
            self._view(dataset)._session.writer.define_array(dataset, array, schema)
        elif self.store:
            self._view(dataset).define_array(array, dtype, names, shape, chunks, fill)

    def write(self, dataset: str, array: str, start: Sequence[int], data: np.ndarray) -> None:
        self.datasets[dataset].arrays[array].write(start, data)
        if self.store:
            self._view(dataset).write_array(array, start, data)

    def delete_array(self, dataset: str, array: str) -> None:
        del self.datasets[dataset].arrays[array]
        if self.store:
            self._view(dataset).delete_array(array)

    def attribute(self, dataset: str, key: Any, value: Any) -> None:
        self.datasets[dataset].attributes[key] = value
        if self.store:
            set_exact_attribute(self._view(dataset), key, value)

    def flush(self) -> None:
        if self.store:
            self.store.flush()

    def mark(self) -> tuple[int, dict[str, DatasetModel]]:
        """The version of the store, 0 without one, and what it holds."""
        return self.store.version if self.store else 0, copy.deepcopy(self.datasets)

    def rollback(self, mark: tuple[int, dict[str, DatasetModel]]) -> None:
        version, datasets = mark
        self.datasets = copy.deepcopy(datasets)
        if self.store:
            self.store.rollback(version)

    def compact(self, keep_versions: int, keep_days: float | None = 0) -> None:
        if self.store:
            self.store.compact(keep_versions, keep_days)

    # Comparing

    def check_store(self, store: Atlas) -> None:
        """Assert that `store` holds what the model does."""
        assert store.list_datasets() == list(self.datasets)
        assert store.list_arrays() == sorted({array for model in self.datasets.values() for array in model.arrays})
        for name, model in self.datasets.items():
            view = store.open_dataset(name)
            assert view.list_arrays() == list(model.arrays)
            assert_same(exact_attributes(view), model.attributes)
            assert list(exact_attributes(view)) == list(model.attributes)
            for array, expected in model.arrays.items():
                meta = view.array_meta(array)
                assert meta == {
                    "dtype": expected.dtype,
                    "shape": expected.shape,
                    "chunk_shape": expected.chunk_shape,
                    "dimension_names": expected.dims,
                }
                assert_same(view.array_fill_value(array), expected.fill)
                values = view.read_array(array)
                if is_time(expected.dtype):
                    assert values.dtype == {"timestamp_nanoseconds": "M8[ns]"}.get(expected.dtype, expected.dtype)
                    values = values.view("i8")
                assert_same(values, expected.values)
                statistics = expected.statistics()
                assert_same(view[array].stats, statistics)
                if statistics is not None:
                    del statistics["nan_count"]
                assert_same(view.array_stats(array), statistics)
        self._check_across(store)

    def _check_across(self, store: Atlas) -> None:
        names = list(self.datasets)
        for array in store.list_arrays():
            for name, found in zip(names, store.read_array_across(array, names), strict=True):
                model = self.datasets[name].arrays.get(array)
                if model is None:
                    assert found is None
                else:
                    assert_same(found.view("i8") if found.dtype.kind in "mM" else found, model.values)

    def check_reader(self, source: Any) -> None:
        """Assert that the independent reader finds in `source` what the model holds."""
        found = read_store(source)
        assert list(found) == list(self.datasets)
        for name, model in self.datasets.items():
            contents = found[name]
            assert [key for key, _ in contents.attributes] == list(model.attributes)
            for (_, value), expected in zip(contents.attributes, model.attributes.values(), strict=True):
                assert_same(value, Time(expected.ns) if isinstance(expected, Timestamp) else expected)
            assert list(contents.arrays) == list(model.arrays)
            for array, expected in model.arrays.items():
                read = contents.arrays[array]
                assert (read.schema["dtype"], read.schema["dims"]) == (expected.dtype, expected.dims)
                assert_same(read.values, expected.values)
                assert_same(read.statistics, expected.statistics())


def assert_same(one: Any, other: Any) -> None:
    """Assert equality of type, shape and bits."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if one.dtype == object:
            assert one.tolist() == other.tolist()
        else:
            np.testing.assert_array_equal(one, other)
            assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    elif isinstance(one, np.generic):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    elif isinstance(one, float):
        assert math.copysign(1, one) == math.copysign(1, other)
        assert same(one, other)
    elif isinstance(one, dt.date | dt.time | dt.timedelta):
        # Equal times may differ in unit and zone.
        told, expected = (
            (repr(time), getattr(time, "unit", None), repr(getattr(time, "tzinfo", None))) for time in (one, other)
        )
        assert told == expected
    else:
        assert one == other
