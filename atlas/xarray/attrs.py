"""Which attributes of a stored dataset belong to which variable of an xarray dataset, and the names kept for us.

What came from xarray carries its owner in its key and comes back exactly. What a user set on the dataset by a plain
text key belongs to the array with the longest name that the key begins with, followed by a dot; and a text value
`json:` with a list or object behind it is shown as that list or dict. Pure; reads no array.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from atlas.errors import AtlasError, InvalidNameError
from atlas.format.attributes import Timestamp, decode_value, encode_value, flatten_key, recover_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from atlas.format.attributes import AttributeKey

__all__ = ["COORDS_KEY", "DTYPE_KEY", "FILL_KEY", "Attributes", "checked_attributes", "sort_attributes"]

COORDS_KEY: Final = "_pyatlas_coords"
"""Dataset attribute: the names of the coordinates, as a JSON list."""
DTYPE_KEY: Final = "_atlas_dtype"
"""Variable attribute: the dtype of times, durations and dates to restore, hidden from xarray."""
FILL_KEY: Final = "_FillValue"
"""Variable attribute of CF that becomes the fill value of the array."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of a dataset, by owner; values are the caller's to change."""

    dataset: dict[str, Any]
    """Those of the dataset itself."""
    variables: dict[str, dict[str, Any]]
    """Those of each array, by its name."""
    coords: list[str] | None
    """Names of the arrays that are coordinates; None where nothing valid is recorded."""
    markers: dict[str, object]
    """Recorded dtype of each array that has one; not checked."""


def checked_attributes(owner: str, attrs: Mapping[Any, Any]) -> dict[str, object]:
    """Exact values of xarray attributes, copied; `owner` says whose they are in messages.

    Keys that are no text are written as text. Raises `InvalidValueError` for values and `InvalidNameError` for keys
    that cannot be kept.
    """
    checked: dict[str, object] = {}
    for key, value in attrs.items():
        text = recover_text(str(key))
        if text in (COORDS_KEY, DTYPE_KEY):
            raise InvalidNameError(f"{owner}: the attribute name {text!r} is taken by the store; rename the attribute")
        try:
            checked[text] = decode_value(encode_value(value))
        except AtlasError as error:
            raise type(error)(f"{owner}, attribute {text!r}: {error}") from error
    return checked


def sort_attributes(attributes: Mapping[AttributeKey, object], arrays: Collection[str]) -> Attributes:
    """Give each of a dataset's exact attributes to its owner; `arrays` are the names of its arrays."""
    names = set(arrays)
    lengths = sorted({len(name) for name in names}, reverse=True)
    out = Attributes({}, {name: {} for name in arrays}, None, {})
    coords = None
    for key, value in attributes.items():
        if flatten_key(key) == COORDS_KEY:
            coords = _coordinate_names(value, names)
            continue
        owner, own_key = _owner(key, names, lengths)
        if owner is None:
            out.dataset[own_key] = _shown(key, value)
        elif own_key == DTYPE_KEY:
            out.markers[owner] = value
        else:
            out.variables[owner][own_key] = _shown(key, value)
    return Attributes(out.dataset, out.variables, coords, out.markers)


def _owner(key: AttributeKey, names: Collection[str], lengths: Sequence[int]) -> tuple[str | None, str]:
    """Return whose an attribute is and its key there; `lengths` are those of `names`, longest first."""
    if isinstance(key, tuple):
        # The array may have been deleted since: its attributes are then shown as the dataset's.
        return key if len(key) == 2 and key[0] in names else (None, flatten_key(key))
    # By the lengths that names have, not by the dots of the key, of which there may be a million.
    for end in lengths:
        if end < len(key) and key[end] == "." and key[:end] in names:
            return key[:end], key[end + 1 :]
    return None, key


def _shown(key: AttributeKey, value: object) -> object:
    if isinstance(value, Timestamp):
        return value.ns
    if isinstance(key, str) and isinstance(value, str) and value.startswith("json:"):
        try:
            parsed = json.loads(value.removeprefix("json:"))
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, list | dict) else value
    return copy.deepcopy(value)


def _coordinate_names(value: object, names: Collection[str]) -> list[str] | None:
    try:
        listed = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list):
        return None
    return [name for name in listed if isinstance(name, str) and name in names]
