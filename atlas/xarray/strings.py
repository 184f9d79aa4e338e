"""Which cells of an object array are strings. Converts nothing: the store turns str and bytes into text itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from atlas.errors import InvalidTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_strings"]


def check_strings(variable: str, cells: NDArray[Any]) -> None:
    """Raise `InvalidTypeError`, naming the variable, unless every cell is str or bytes.

    Missing cells are refused: the store has no missing string, and "" would not come back as None or NaN.
    """
    if cells.dtype.kind in "SUT":
        return
    others = [cell for cell in cells.ravel().tolist() if not isinstance(cell, str | bytes)]
    if others:
        raise InvalidTypeError(
            f"variable {variable!r}: a string array holds str or bytes, and one cell is {type(others[0]).__name__}; "
            f"use {_remedy(variable, others, text=len(others) < cells.size)}"
        )


def _remedy(variable: str, others: list[Any], *, text: bool) -> str:
    """Return what to do with cells that are no text, beside those that are if there are any."""
    this = f"ds[{variable!r}]"
    present = [cell for cell in others if not _is_missing(cell)]
    if not present:
        return f"{this}.fillna('') for missing text"
    if not text and all(isinstance(cell, bool) for cell in present):
        return f"{this}.fillna(False).astype(bool) for flags, of which missing ones are then False"
    if not text and type(present[0]).__module__.partition(".")[0] == "cftime":
        date = f"cftime.{type(present[0]).__name__}(1, 1, 1)"
        return f"{this}.copy(data=np.where({this}.isnull(), {date}, {this})) for missing dates"
    return f"{this}.astype(str)"


def _is_missing(cell: object) -> bool:
    """Return whether xarray takes an object for missing: None, NaN, and NA and NaT of pandas."""
    return (
        cell is None or type(cell).__name__ in {"NAType", "NaTType"} or (isinstance(cell, float) and math.isnan(cell))
    )
