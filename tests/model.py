"""A store as dictionaries and NumPy arrays: what every answer of `Atlas` is compared with. Imports nothing of atlas."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

MEMORY = {
    name: np.dtype(name)
    for name in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64", "datetime64[s]", "datetime64[ms]", "datetime64[us]", "timedelta64[s]", "timedelta64[ms]",
        "timedelta64[us]", "timedelta64[ns]",
    )
} | {"timestamp_nanoseconds": np.dtype("M8[ns]"), "string": np.dtype(object), "bytes": np.dtype(object)}  # fmt: skip
"""What a read of each stored dtype returns."""


def type_of_text(dtype: str) -> type[str | bytes]:
    """The type of the cells of strings and of bytes."""
    return str if dtype == "string" else bytes


def blank(dtype: str, shape: tuple[int, ...], fill: Any) -> np.ndarray:
    """The cells of an array that nobody has written to."""
    if MEMORY[dtype].kind == "O":
        out = np.empty(shape, object)
        out[...] = type_of_text(dtype)() if fill is None else fill
        return out
    if MEMORY[dtype].kind in "mM":
        return np.full(shape, 0 if fill is None else fill, np.int64).view(MEMORY[dtype])
    return np.full(shape, 0 if fill is None else fill, MEMORY[dtype])


def identical(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two arrays are the same to the last bit, NaN payloads and signs of zero included."""
    if a is None or b is None:
        return a is b
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype == object:
        cells = a.ravel().tolist(), b.ravel().tolist()
        types = [[type(cell) for cell in part] for part in cells]
        return cells[0] == cells[1] and types[0] == types[1] and {*types[0]} <= {str, bytes, type(None)}
    return a.tobytes() == b.tobytes()


@dataclass
class ModelArray:
    """One array."""

    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    fill: Any
    cells: np.ndarray = field(init=False)
    written: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.cells = blank(self.dtype, self.shape, self.fill)
        self.written = np.zeros([-(-n // max(c, 1)) for n, c in zip(self.shape, self.chunk_shape, strict=True)], bool)

    def write(self, start: tuple[int, ...], data: np.ndarray) -> None:
        """Lay `data` over the cells from `start` on, and note the chunks it touches."""
        if MEMORY[self.dtype].kind == "O" and self.fill is not None:
            filled = [self.fill if cell is None else cell for cell in data.ravel().tolist()]
            data = np.array([*filled, None], object)[:-1].reshape(data.shape)
        self.cells[self.box(start, data.shape)] = data
        if data.size:
            touched = tuple(
                slice(s // c, (s + n - 1) // c + 1) for s, n, c in zip(start, data.shape, self.chunk_shape, strict=True)
            )
            self.written[touched] = True

    @staticmethod
    def box(start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
        """The index of the box of `shape` at `start`; always of an array, of scalars too."""
        return (*(slice(s, s + n) for s, n in zip(start, shape, strict=True)), ...)

    def read(self, start: tuple[int, ...] | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A copy of a box."""
        start = (0,) * len(self.shape) if start is None else start
        if shape is None:
            shape = tuple(n - s for n, s in zip(self.shape, start, strict=True))
        out = np.empty(shape, self.cells.dtype)
        out[...] = self.cells[self.box(start, shape)]
        return out

    def meta(self) -> dict[str, Any]:
        """What `array_meta` says."""
        return {
            "dtype": self.dtype,
            "shape": list(self.shape),
            "chunk_shape": list(self.chunk_shape),
            "dimension_names": list(self.dims),
        }

    def stats(self) -> dict[str, Any] | None:
        """What `array_stats` says once this is flushed: chunks never written count as nulls, whole."""
        if not self.written.any():
            return None
        values: list[Any] = []
        for position in product(*map(range, self.written.shape)):
            if self.written[position]:
                corner = tuple(p * c for p, c in zip(position, self.chunk_shape, strict=True))
                chunk = self.cells[self.box(corner, self.chunk_shape)]
                values += (chunk.view(np.int64) if MEMORY[self.dtype].kind in "mM" else chunk).ravel().tolist()
        fill = self.fill
        if fill is not None and self.dtype.startswith("float"):
            fill = MEMORY[self.dtype].type(fill).item()
        valid = [v for v in values if fill is None or not (v == fill or (v != v and fill != fill))]
        valid = [v for v in valid if v is not None]
        null_count = math.prod(self.shape) - len(valid)
        if self.dtype.startswith("float"):
            valid = [v for v in valid if v == v]
        if MEMORY[self.dtype].kind in "mM":
            valid = [v for v in valid if v != np.iinfo(np.int64).min]
        return {
            "row_count": math.prod(self.shape),
            "null_count": null_count,
            "min": min(valid, default=None),
            "max": max(valid, default=None),
        }


@dataclass
class ModelDataset:
    """One dataset; both dictionaries keep their order."""

    arrays: dict[str, ModelArray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def delete_array(self, name: str) -> None:
        """Drop an array with its attributes; no name of an array here begins another."""
        del self.arrays[name]
        self.attributes = {key: value for key, value in self.attributes.items() if not key.startswith(f"{name}.")}


class Model:
    """A store: what a handle sees, and what was flushed last."""

    def __init__(self) -> None:
        self.datasets: dict[str, ModelDataset] = {}
        self.flushed: dict[str, ModelDataset] = {}
        self.pending = False
        self._twin_of: dict[int, ModelArray] = {}
        self._held: list[ModelArray] = []

    def flush(self) -> None:
        """Make what is pending durable."""
        self.flushed = copy.deepcopy(self.datasets)
        self._remember()
        self.pending = False

    def revert(self) -> None:
        """Drop what is pending."""
        self.datasets = copy.deepcopy(self.flushed)
        self._remember()
        self.pending = False

    def _remember(self) -> None:
        # An array is the one that was flushed while it is the same object: not once it is deleted and defined anew.
        self._twin_of = {
            id(array): self.flushed[name].arrays[key]
            for name, dataset in self.datasets.items()
            for key, array in dataset.arrays.items()
        }
        # Held, so that no other array gets the same id.
        self._held = [array for dataset in self.datasets.values() for array in dataset.arrays.values()]

    def stats(self, dataset: str, array: str) -> dict[str, Any] | None:
        """What `array_stats` says now."""
        found = self.datasets[dataset].arrays.get(array)
        twin = None if found is None else self._twin_of.get(id(found))
        return None if twin is None else twin.stats()

    def list_arrays(self) -> list[str]:
        """What `Atlas.list_arrays` says."""
        return sorted({name for dataset in self.datasets.values() for name in dataset.arrays})
