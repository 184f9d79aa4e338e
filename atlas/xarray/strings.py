"""Which cells of an object array are strings. Converts nothing: the store turns str and bytes into text itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.errors import InvalidTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_strings"]


def check_strings(variable: str, cells: NDArray[Any]) -> None:
    """Raise `InvalidTypeError`, naming the variable, unless every cell is str or bytes.

    None and NaN are refused: the store has no missing string, and "" would not come back as None or NaN.
    """
    if cells.dtype.kind in "SU":
        return
    for cell in cells.ravel().tolist():
        if not isinstance(cell, str | bytes):
            missing = cell is None or isinstance(cell, float)
            remedy = f"ds[{variable!r}].fillna('') for missing text" if missing else f"ds[{variable!r}].astype(str)"
            raise InvalidTypeError(
                f"variable {variable!r}: a string array holds str or bytes, and one cell is {type(cell).__name__}; "
                f"use {remedy}"
            )
