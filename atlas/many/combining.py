"""Attributes and cells of several variables as those of one: exact, or refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalog.meaning import comparable
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.dtypes import exact_times
from atlas.format.strings import is_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["COMBINE_ATTRS", "check_combine_attrs", "combine_attributes", "common_cells", "equal_cells"]

COMBINE_ATTRS = ("drop_conflicts", "drop", "identical", "no_conflicts", "override")
"""What xarray takes for `combine_attrs`, besides a function."""


def check_combine_attrs(how: object) -> None:
    """Raise `InvalidValueError` for what is no way to combine attributes."""
    if not callable(how) and not (isinstance(how, str) and how in COMBINE_ATTRS):
        raise InvalidValueError(f"combine_attrs is one of {', '.join(COMBINE_ATTRS)} or a function, not {how!r}")


def combine_attributes(
    owner: str, attributes: Sequence[Mapping[str, Any]], how: str | Callable[..., Any]
) -> dict[str, Any]:
    """Return attributes of several variables or datasets as xarray combines them; `owner` names them in errors.

    Raises `InvalidValueError` for attributes that differ where `how` allows none.
    """
    if callable(how):
        made = how(list(attributes), None)
        if not isinstance(made, Mapping) or not all(isinstance(key, str) for key in made):
            raise InvalidTypeError(
                f"{owner}: the function combine_attrs returned {made!r}; it returns a dict of attributes by name"
            )
        return dict(made)
    first, *others = attributes
    if how == "drop":
        return {}
    if how == "override":
        return dict(first)
    found, differing = dict(first), set()
    for other in others:
        if how == "identical" and other.keys() != found.keys():
            raise _conflict(owner, *sorted(other.keys() ^ found.keys()), how=how)
        for key, value in other.items():
            if key not in found:
                if key not in differing:
                    found[key] = value
            elif found[key] is not value and comparable(found[key]) != comparable(value):
                if how != "drop_conflicts":
                    raise _conflict(owner, key, how=how)
                differing.add(key)
                del found[key]
    return found


def _conflict(owner: str, *keys: str, how: str) -> InvalidValueError:
    return InvalidValueError(
        f"{owner}: the attribute {keys[0]!r} differs between datasets, which combine_attrs={how!r} refuses; use "
        "combine_attrs='drop_conflicts' to leave it out, or 'override' to take that of the first"
    )


def equal_cells(cells: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which cells equal the others, which broadcast against them; what is missing equals itself."""
    if cells.dtype.kind in "OST":
        found: NDArray[np.bool_] = np.asarray(_with_none(cells) == _with_none(others), np.bool_)
        return found
    same: NDArray[np.bool_] = cells == others
    if cells.dtype.kind in "fcmM":
        same |= (cells != cells) & (others != others)  # noqa: PLR0124 - NaN and NaT
    return same


def common_cells(variable: str, parts: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return cells of several datasets in one dtype that keeps them all.

    Raises `InvalidTypeError` for kinds that have no dtype in common, and `InvalidValueError` where none keeps all
    cells.
    """
    dtypes = list(dict.fromkeys(part.dtype for part in parts))
    if len(dtypes) == 1:
        return list(parts)
    kinds = {dtype.kind for dtype in dtypes}
    if kinds <= set("OST"):
        common = np.result_type(*dtypes) if kinds == {"S"} else np.dtype(object)
        return [part.astype(common, copy=False) for part in parts]
    if kinds in ({"M"}, {"m"}):
        return _common_times(variable, parts)
    if not kinds <= set("iuf"):
        raise InvalidTypeError(f"variable {variable!r} is of {' and '.join(map(str, dtypes))}, which do not stack")
    common = np.result_type(*dtypes)
    cast = [part.astype(common) for part in parts]
    for part, done in zip(parts, cast, strict=True):
        if part.dtype.kind in "iu" and not np.array_equal(done.astype(part.dtype), part):
            raise InvalidValueError(
                f"variable {variable!r} holds integers of {part.dtype} that {common} does not keep; convert them first"
            )
    return cast


def _common_times(variable: str, parts: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    units = sorted({part.dtype.name for part in parts})
    try:
        dtype = np.result_type(*units)
        exact = [exact_times(part, dtype) for part in parts]
    except TypeError:  # months and days have no unit in common
        exact = [None]
    if any(part is None for part in exact):
        raise InvalidValueError(
            f"array {variable!r} holds times of {' and '.join(units)}, which no unit keeps in 64 bits; stack datasets "
            "of one unit"
        )
    return [part for part in exact if part is not None]


def _with_none(cells: NDArray[Any]) -> NDArray[np.object_]:
    """Return text, bytes or dates as objects, None for what is missing."""
    flat: Sequence[object] = cells.reshape(-1).tolist()
    out = np.empty(len(flat), object)
    out[:] = [None if is_missing(cell) else cell for cell in flat]
    return out.reshape(cells.shape)
