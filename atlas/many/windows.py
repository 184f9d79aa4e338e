"""Which cells of each dataset are taken before datasets become one: the `isel=` of `Atlas.open_many`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atlas.errors import InvalidIndexError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.xarray.reading import StoredArray

__all__ = ["Positions", "Window", "check_positions", "take"]

Positions: TypeAlias = "Mapping[str, int | slice]"
"""What is taken along each dimension: one position, which removes it, or a slice of step 1."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a stored array that is taken: from one cell on along each axis."""

    shape: tuple[int, ...]
    """Shape of the stored array."""
    begin: tuple[int, ...]
    """First cell along each axis."""
    kept: tuple[bool, ...]
    """Whether each axis is kept. Of others one cell is taken."""

    def box(self, corner: Sequence[int], extent: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the corner and shape, in the stored array, of a box of the axes that are kept."""
        boxes = iter(zip(corner, extent, strict=True))
        pairs = [next(boxes) if kept else (0, 1) for kept in self.kept]
        start = [begin + own for begin, (own, _) in zip(self.begin, pairs, strict=True)]
        return start, [length for _, length in pairs]

    def without_dropped(self, cells: NDArray[Any], *, leads: bool) -> NDArray[Any]:
        """Return cells of a box without the axes that are not kept; `leads` tells of one more axis before them."""
        dropped = tuple(leads + axis for axis, kept in enumerate(self.kept) if not kept)
        return cells.squeeze(dropped) if dropped else cells


def check_positions(isel: object) -> None:
    """Refuse what is neither None nor a mapping of dimensions to positions or slices of step 1.

    Raises `InvalidTypeError` and `InvalidValueError`.
    """
    if isel is None:
        return
    if not isinstance(isel, Mapping):
        raise InvalidTypeError(
            f"isel maps dimensions to positions, as in {{'level': slice(0, 10)}}; it is {type(isel).__name__} {isel!r}"
        )
    for dim, entry in isel.items():
        of_slice = (entry.start, entry.stop, entry.step) if isinstance(entry, slice) else (entry,)
        allowed = (int, np.integer, type(None)) if isinstance(entry, slice) else (int, np.integer)
        if not all(isinstance(each, allowed) and not isinstance(each, bool) for each in of_slice):
            raise InvalidTypeError(
                f"isel has {entry!r} for {dim!r}; give an integer or a slice of integers, and select others with "
                ".isel() of the result"
            )
        if isinstance(entry, slice) and entry.step not in (None, 1):
            raise InvalidValueError(
                f"isel has {entry!r} for {dim!r}, and takes slices of step 1; take steps with .isel() of the result"
            )


def take(array: StoredArray, dataset: str, isel: Positions) -> tuple[StoredArray, Window]:
    """Return an array of a dataset as its part that `isel` takes, and where that lies.

    Raises `InvalidIndexError` for a position that the array does not have.
    """
    if not isel:
        return array, Window(array.shape, (0,) * len(array.dims), (True,) * len(array.dims))
    ranges = []
    for dim, length in zip(array.dims, array.shape, strict=True):
        entry = isel.get(dim, slice(None))
        if isinstance(entry, slice):
            ranges.append(range(length)[entry])
            continue
        try:
            ranges.append(range(range(length)[entry], range(length)[entry] + 1))
        except IndexError:
            raise InvalidIndexError(
                f"isel takes the position {entry} along {dim!r}, and array {array.name!r} of dataset {dataset!r} has "
                f"{length} cells along it; take a slice, or leave the dataset out"
            ) from None
    kept = tuple(isinstance(isel.get(dim, slice(None)), slice) for dim in array.dims)
    window = Window(array.shape, tuple(positions.start for positions in ranges), kept)
    taken = replace(
        array,
        dims=tuple(dim for dim, stays in zip(array.dims, kept, strict=True) if stays),
        shape=tuple(len(positions) for positions, stays in zip(ranges, kept, strict=True) if stays),
        chunk_shape=tuple(length for length, stays in zip(array.chunk_shape, kept, strict=True) if stays),
        indexed=array.indexed and all(kept),
    )
    return taken, window
