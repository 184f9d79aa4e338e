"""The base of engines with one large array per variable, of shape (datasets, *shape).

Each such engine comes in two variants. Unpacked, the unit of encoding is a chunk of one dataset, so that a dataset can
be read and rewritten without the others. Packed, a unit holds one chunk each of as many datasets as make about 128 KiB:
the best choice if all datasets are known beforehand, are alike, and are never rewritten.

Subclasses open (`_array`), create (`_create`), read (`_get`) and extend (`_extend`) an array.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Collection, Values

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Stacked"]


class Stacked(Collection):
    """One array per variable."""

    packed = False

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._handles: list[Any] | None = None
        self._length = 0

    @property
    def unit(self) -> tuple[int, ...]:
        """Shape of the unit of encoding."""
        return (self.work.per_block if self.packed else 1, *self.work.chunk)

    @abstractmethod
    def _create(self, variable: str, values: NDArray[Any]) -> None:
        """Create the array of a variable and write all of it."""

    @abstractmethod
    def _array(self, variable: str) -> Any:
        """Open the array of a variable."""

    @abstractmethod
    def _get(self, array: Any, region: tuple[slice | int, ...]) -> NDArray[Any]:
        """Read a box."""

    @abstractmethod
    def _extend(self, array: Any, row: NDArray[Any], length: int) -> Any:
        """Resize an array to `length` and write its last row; returns the array to use from then on."""

    def prepare_write(self) -> None:
        self.clear()
        self._handles = None
        self._length = self.work.datasets

    def write(self) -> None:
        for variable, values in self.data.items():
            self._create(variable, values)

    def _arrays(self) -> list[Any]:
        return [self._array(variable) for variable in self.work.variables]

    def _read(self, arrays: list[Any], box: tuple[slice, ...]) -> Values:
        """Read a box of every variable of all datasets."""
        return [self._get(array, (slice(0, self.work.datasets), *box)) for array in arrays]

    def open(self) -> None:
        self._arrays()

    def open_slice(self) -> Values:
        return self._read(self._arrays(), self.work.box)

    def _open(self) -> list[Any]:
        if self._handles is None:
            self._handles = self._arrays()
        return self._handles

    def slice(self) -> Values:
        return self._read(self._open(), self.work.box)

    def read_all(self) -> Values:
        return self._read(self._open(), self.work.whole)

    def read_one(self) -> Values:
        return [self._get(self._open()[0], (self.work.one,))]

    def append(self) -> None:
        self._length += 1
        rows = [values[self.work.one] for values in self.data.values()]
        extended = [self._extend(array, row, self._length) for array, row in zip(self._open(), rows, strict=True)]
        self._handles = extended

    def check_append(self) -> Values:
        return [self._get(array, (self._length - 1,)) for array in self._arrays()]
