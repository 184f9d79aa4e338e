"""Assigns each attribute of a stored dataset to the dataset or to one of its variables. Pure; reads no cells.

An attribute that was written through xarray names its owner in its key, and comes back exactly. An attribute that a
user set under a plain key, such as `temperature.units`, belongs to the array whose name the key begins with, followed
by a dot; of several such names the longest counts. A plain attribute whose value is `json:` and a JSON list or object
is shown as that list or dict.
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

__all__ = [
    "COORDS_KEY",
    "DTYPE_KEY",
    "FILL_KEY",
    "HIDDEN_KEYS",
    "INDEXES_KEY",
    "OwnedAttributes",
    "assign_attributes",
    "check_attributes",
    "find_key",
]

COORDS_KEY: Final = "_pyatlas_coords"
"""Dataset attribute: the names of the coordinates, as a JSON list."""
INDEXES_KEY: Final = "_atlas_indexes"
"""Dataset attribute: the names of the coordinates that have an index, as a JSON list; hidden from users. Stored where
they are not just those named like their only dimension."""
DTYPE_KEY: Final = "_atlas_dtype"
"""Variable attribute: the dtype that times, durations or dates had in xarray; hidden from users."""
FILL_KEY: Final = "_FillValue"
"""Variable attribute of CF that becomes the fill value of the array."""
HIDDEN_KEYS: Final = (INDEXES_KEY, DTYPE_KEY)
"""What `DatasetView.attributes` does not show."""


@dataclass(frozen=True, slots=True)
class OwnedAttributes:
    """The attributes of a dataset by owner. The caller may change the values."""

    dataset: dict[str, Any]
    """Attributes of the dataset itself."""
    variables: dict[str, dict[str, Any]]
    """Attributes of each array, by array name."""
    coords: list[str] | None
    """Names of the arrays that are coordinates; None where no valid list is stored."""
    indexes: list[str] | None
    """Names of the coordinates that have an index, likewise."""
    dtypes: dict[str, object]
    """The `DTYPE_KEY` attribute of each array that has one, as stored and not validated."""


def check_attributes(owner: str, attrs: Mapping[Any, Any]) -> dict[str, object]:
    """Validate attributes of xarray and return copies; `owner` names their owner in error messages.

    Keys that are not str are converted to str. Raises `InvalidValueError` for values and `InvalidNameError` for keys
    that cannot be stored.
    """
    checked: dict[str, object] = {}
    for key, value in attrs.items():
        try:
            text = recover_text(str(key))
        except AtlasError as error:
            raise InvalidNameError(f"{owner}, name of an attribute: {error}") from error
        if text in checked:
            raise InvalidNameError(
                f"{owner}: two attribute names become {text!r}, as names are text; rename one of them"
            )
        if text in (COORDS_KEY, *HIDDEN_KEYS):
            raise InvalidNameError(f"{owner}: the attribute name {text!r} is reserved; rename the attribute")
        try:
            checked[text] = decode_value(encode_value(value))
        except AtlasError as error:
            raise type(error)(f"{owner}, attribute {text!r}: {error}") from error
    return checked


def assign_attributes(attributes: Mapping[AttributeKey, object], arrays: Collection[str]) -> OwnedAttributes:
    """Assign the exact attributes of a dataset to their owners; `arrays` are the names of its arrays."""
    names = set(arrays)
    lengths = sorted({len(name) for name in names}, reverse=True)
    out = OwnedAttributes({}, {name: {} for name in arrays}, None, None, {})
    lists: dict[str, list[str] | None] = {}
    for key, value in attributes.items():
        if flatten_key(key) in (COORDS_KEY, INDEXES_KEY):
            lists[flatten_key(key)] = _parse_names(value, names)
            continue
        owner, own_key = _find_owner(key, names, lengths)
        if owner is None:
            out.dataset[own_key] = _displayed(key, value)
        elif own_key == DTYPE_KEY:
            out.dtypes[owner] = value
        else:
            out.variables[owner][own_key] = _displayed(key, value)
    return OwnedAttributes(out.dataset, out.variables, lists.get(COORDS_KEY), lists.get(INDEXES_KEY), out.dtypes)


def find_key(
    attributes: Collection[AttributeKey], arrays: Collection[str], array: str | None, name: str
) -> AttributeKey:
    """Return the exact key of the attribute `name` of an array, or of the dataset where `array` is None.

    That is the one it has among `attributes`, or the one to set it by. `arrays` are the names of the dataset's arrays.
    """
    names = set(arrays)
    lengths = sorted({len(name) for name in names}, reverse=True)
    for key in attributes:
        if flatten_key(key) not in (COORDS_KEY, INDEXES_KEY) and _find_owner(key, names, lengths) == (array, name):
            return key
    return (name,) if array is None else (array, name)


def _find_owner(key: AttributeKey, names: Collection[str], lengths: Sequence[int]) -> tuple[str | None, str]:
    """Return the array that owns the attribute, or None for the dataset, and the key without the owner.

    `lengths` are the lengths of `names`, longest first.
    """
    if isinstance(key, tuple):
        # The array may have been deleted since: its attributes are then shown as the dataset's.
        return key if len(key) == 2 and key[0] in names else (None, flatten_key(key))
    # Loop over the lengths of names, not over the dots of the key: a key may have a million dots.
    for end in lengths:
        if end < len(key) and key[end] == "." and key[:end] in names:
            return key[:end], key[end + 1 :]
    return None, key


def _displayed(key: AttributeKey, value: object) -> object:
    if isinstance(value, Timestamp):
        return value.ns
    if isinstance(key, str) and isinstance(value, str) and value.startswith("json:"):
        try:
            parsed = json.loads(value.removeprefix("json:"))
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, list | dict) else value
    return copy.deepcopy(value)


def _parse_names(value: object, names: Collection[str]) -> list[str] | None:
    try:
        listed = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list):
        return None
    return [name for name in listed if isinstance(name, str) and name in names]
