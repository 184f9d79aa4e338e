"""Strings as xarray holds them (object, |S, |U, StringDType) to object arrays of str. Missing cells are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidTypeError
from atlas.format.attributes import recover_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["text_cells"]


def text_cells(variable: str, cells: NDArray[Any]) -> NDArray[np.object_]:
    """Cells of any string dtype as an object array of str, same shape; the input is left as it is.

    Bytes are read as UTF-8, with U+FFFD where they are none; surrogate escapes are recovered. Raises
    `InvalidTypeError` for a cell of another type. None and NaN are such: the store has no missing string, and a
    silent "" would not come back as what it was.
    """
    texts: list[Any] = cells.ravel().tolist()
    for index, cell in enumerate(texts):
        if isinstance(cell, str):
            continue
        if not isinstance(cell, bytes):
            missing = cell is None or isinstance(cell, float)
            remedy = "ds[{!r}].fillna('') for missing text" if missing else "ds[{!r}].astype(str)"
            raise InvalidTypeError(
                f"variable {variable!r}: a string array holds str or bytes, and a cell is {type(cell).__name__}; "
                f"use {remedy.format(variable)}"
            )
        texts[index] = cell.decode("utf-8", "replace")
    try:  # one pass in C over all cells tells whether any needs care
        "".join(texts).encode()
    except UnicodeEncodeError:
        texts = [recover_text(text) for text in texts]
    out = np.empty(len(texts), object)
    out[:] = texts
    return out.reshape(cells.shape)
