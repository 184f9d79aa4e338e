"""Reads of one stored array that was described earlier: they give cells of what was described, or raise.

An array may be deleted, or declared anew, between the moment it is opened lazily and the moment it is read. A reader
compares what the array is, before and after it reads, with what it was. Blocks of dask and lazily indexed arrays read
through it, in any thread or process. Never imports xarray or dask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.errors import ArrayNotFoundError, StaleHandleError
from atlas.xarray.recorded_dtypes import decode_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from atlas.xarray.interfaces import DatasetInterface

__all__ = ["ArrayReads", "read_decoded"]

_AGAIN = "call to_xarray again, or open it again through xarray"


@dataclass(frozen=True, slots=True)
class ArrayReads:
    """Reads one array as it was described. Pickles with its dataset."""

    view: DatasetInterface
    """The dataset."""
    array: str
    """Name of the array."""
    meta: Mapping[str, Any] | None
    """What `array_meta` returned when the array was described."""
    xarray_dtype: str | None
    """Recorded dtype (see `recorded_dtypes`), None for cells as stored."""

    def read_box(self, start: Sequence[int], shape: Sequence[int]) -> NDArray[Any]:
        """Read a box. Raises `ArrayNotFoundError`, or `StaleHandleError` where the array was declared anew."""
        return self._read(lambda: read_decoded(self.view, self.array, self.xarray_dtype, list(start), list(shape)))

    def read_index(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read what a NumPy index takes, as an array of at least one axis. Errors as for `read_box`."""

        def read() -> NDArray[Any]:
            try:
                cells: NDArray[Any] = self.view[self.array][key]
            except ArrayNotFoundError as error:
                raise _deleted(self.view, self.array) from error
            return cells if self.xarray_dtype is None else decode_recorded(self.array, cells, self.xarray_dtype)

        return self._read(read)

    def _read(self, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        self._check()
        try:
            return read()
        finally:
            self._check()  # another thread may have declared it anew meanwhile

    def _check(self) -> None:
        now = self.view.array_meta(self.array)
        if now is not None and now != self.meta:
            raise StaleHandleError(
                f"array {self.array!r} of dataset {self.view.name!r} was declared anew after it was opened lazily: it "
                f"was {self.meta} and is {now}; {_AGAIN}"
            )


def read_decoded(
    view: DatasetInterface,
    array: str,
    xarray_dtype: str | None,
    start: list[int] | None = None,
    shape: list[int] | None = None,
    *,
    widens: bool = False,
) -> NDArray[Any]:
    """Read a box of an array, or all of it, and decode it where an `xarray_dtype` is recorded, see `decode_recorded`.

    Raises `ArrayNotFoundError` where the array has been deleted since it was described.
    """
    cells = view.read_array(array, start=start, shape=shape)
    if cells is None:
        raise _deleted(view, array)
    return cells if xarray_dtype is None else decode_recorded(array, cells, xarray_dtype, widens=widens)


def _deleted(view: DatasetInterface, array: str) -> ArrayNotFoundError:
    return ArrayNotFoundError(f"dataset {view.name!r} no longer has an array {array!r}: it was deleted; {_AGAIN}")
