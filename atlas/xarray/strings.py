"""Which objects of xarray are strings. The store itself turns str and bytes into text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.errors import InvalidTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_text"]


def check_text(variable: str, cells: NDArray[Any]) -> None:
    """Raise `InvalidTypeError`, naming the variable, unless every cell is str or bytes.

    None and NaN are neither: the store has no missing string, and a silent "" would not come back as what it was.
    """
    if cells.dtype.kind in "SU":
        return
    for cell in cells.ravel().tolist():
        if not isinstance(cell, str | bytes):
            missing = cell is None or isinstance(cell, float)
            remedy = f"ds[{variable!r}].fillna('') for missing text" if missing else f"ds[{variable!r}].astype(str)"
            raise InvalidTypeError(
                f"variable {variable!r}: a string array holds str or bytes, and a cell is {type(cell).__name__}; "
                f"use {remedy}"
            )
