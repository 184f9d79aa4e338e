"""The values of one variable as texts, which tell and name the parts of a split dataset. Pure; knows no files.

Equal texts are equal values: blanks and NULs around a text do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.errors import InvalidNameError, InvalidValueError
from atlas.format.names import check_name
from atlas.format.strings import is_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Values", "lies_along", "list_positions", "part_labels", "read_values"]

_PADDING = " \t\r\n\0"
_ZEROS = re.compile(r"T00:00:00$|(?<=T\d\d:\d\d):00$")
"""What an ISO time ends with where it has no time of day, or no seconds."""
_MOST_LISTED = 5
_MOST_WHOLE = 1e16
"""Floats from here on have the exponent of Python's text; smaller whole ones are written as integers."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a variable along one dimension."""

    numbers: NDArray[np.int64]
    """(N,) for each position the number of its value, in order of first appearance; -1 where it is missing."""
    texts: list[str]
    """The text of each value."""


def lies_along(variable: xr.Variable, dim: str) -> bool:
    """Return whether a variable has one value for each position of a dimension; a row of characters is a text."""
    is_characters = variable.ndim == 2 and variable.dtype in {np.dtype("S1"), np.dtype("U1")}
    return variable.dims[:1] == (dim,) and (variable.ndim == 1 or is_characters)


def read_values(name: str, variable: xr.Variable) -> Values:
    """Return the values of a variable, for which `lies_along` holds.

    Missing are NaN, NaT, None, the `_FillValue` and `missing_value` of what is not decoded, and text of blanks. Raises
    `InvalidValueError` for what has no text.
    """
    cells = variable.to_numpy()
    fills = {cell for key in ("_FillValue", "missing_value") for cell in np.ravel(variable.attrs.get(key, [])).tolist()}
    if cells.ndim == 2:
        joined = np.ascontiguousarray(cells).view(f"{cells.dtype.kind}{max(cells.shape[1], 1)}")
        cells = joined.reshape(-1) if cells.shape[1] else np.full(len(cells), "")
    numbers, distinct = _factorize(name, cells)
    merged: dict[str, int] = {}
    numbers_of = []
    for value in distinct:
        text = "" if is_missing(value) or (fills and _scalar(value) in fills) else _text(name, value)
        numbers_of.append(merged.setdefault(text, len(merged)) if text else -1)
    # What pandas found missing has the number -1, and so the last item.
    return Values(np.array([*numbers_of, -1], np.int64)[numbers], list(merged))


def part_labels(name: str, texts: Sequence[str]) -> list[str]:
    """Return the labels of parts, one for each text: "/" becomes ".", as in names that paths give.

    Raises `InvalidValueError` for a label that is no valid name of a dataset, and for two texts with one label.
    """
    labels: dict[str, str] = {}
    for text in texts:
        label = text.replace("/", ".")
        try:
            check_name("dataset", label)
        except InvalidNameError as error:
            raise InvalidValueError(
                f"each part is named by its value of {name!r}, and {text!r} is no valid label: {error}; change that "
                "value in the file, or split by another variable"
            ) from error
        if label in labels:
            raise InvalidValueError(
                f"labels of parts differ, and {labels[label]!r} and {text!r} of {name!r} both become {label!r}, as '/' "
                "becomes '.'; change one in the file, or split by another variable"
            )
        labels[label] = text
    return list(labels)


def list_positions(found: NDArray[np.int64]) -> str:
    """Return positions as text, the first few of many."""
    listed = ", ".join(map(str, found[:_MOST_LISTED].tolist()))
    return listed if len(found) <= _MOST_LISTED else f"{listed} and {len(found) - _MOST_LISTED} more"


def _factorize(name: str, cells: NDArray[Any]) -> tuple[NDArray[np.int64], Iterable[Any]]:
    """Return the number of each cell's value, -1 where pandas finds it missing, and the values as they first appear."""
    kind = cells.dtype.kind
    if kind in "SUTO":
        return _factorize_objects(name, cells.tolist())
    if kind in "mM":
        numbers, distinct = pd.factorize(cells.view(np.int64))
        return numbers, distinct.view(cells.dtype)
    if kind not in "biuf" or (kind == "f" and cells.dtype.itemsize > 8):
        raise InvalidValueError(_no_text(name, f"the dtype {cells.dtype}"))
    return pd.factorize(cells.astype(cells.dtype.newbyteorder("="), copy=False))  # type: ignore[no-any-return]


def _factorize_objects(name: str, cells: list[Any]) -> tuple[NDArray[np.int64], Iterable[Any]]:
    """Do that for objects, among them text: pandas before 3 compares text up to the first NUL."""
    found: dict[Any, int] = {}
    try:
        numbers = [found.setdefault(cell, len(found)) for cell in cells]
    except TypeError as error:  # objects that cannot be hashed
        raise InvalidValueError(_no_text(name, f"objects that cannot be compared: {error}")) from error
    return np.array(numbers, np.int64), found


def _no_text(name: str, found: str) -> str:
    return f"values that tell parts are text, numbers or times, and {name!r} has {found}; split by another variable"


def _scalar(value: Any) -> Any:
    """Return a value as the fill values are."""
    return value.item() if isinstance(value, np.generic) else value


def _text(name: str, value: Any) -> str:
    """Return a value as text, "" for text of blanks."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidValueError(
                f"values that tell parts are UTF-8, and {name!r} has {value!r}: {error.reason}; name the right charset "
                "in the attribute _Encoding of the variable, or split by another one"
            ) from error
    if isinstance(value, str):
        return value.strip(_PADDING)
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, unit="auto"))
    if isinstance(value, np.timedelta64):
        return str(pd.Timedelta(value).isoformat())
    if hasattr(value, "isoformat"):  # cftime, and datetime of Python; as short as NumPy writes it
        return _ZEROS.sub("", str(value.isoformat()))
    if isinstance(value, float | np.floating):
        return str(int(value)) if abs(float(value)) < _MOST_WHOLE and value == int(value) else str(value)
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(value)
    raise InvalidValueError(_no_text(name, f"{type(value).__name__} {value!r}"))
