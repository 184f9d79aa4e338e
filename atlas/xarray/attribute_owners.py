"""Assigns each attribute of a stored dataset to the dataset or to one of its variables. Pure; reads no cells.

Attributes belong to arrays by the text that they are shown by (see `atlas.format.attribute_keys`), whether they were
set through xarray, `attrs` or `DatasetView.set_attribute`. What would come back elsewhere than it was set is refused.
An attribute of `set_attribute` whose value is `json:` and a JSON list or object is shown as that list or dict.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from atlas.errors import AtlasError, InvalidNameError
from atlas.format.attribute_keys import (
    DTYPE_KEY,
    ENCODING_KEY,
    EXACT_FILL_KEY,
    INDEXES_KEY,
    ORDER_KEY,
    SOURCE_KEY,
    ArrayPrefixes,
    check_key,
    flatten_key,
    is_hidden,
    is_plain_key,
)
from atlas.format.attributes import Timestamp, encode_value
from atlas.format.text import recover_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from atlas.format.attribute_keys import AttributeKey

__all__ = [
    "COORDS_KEY",
    "FILL_KEY",
    "OwnedAttributes",
    "assign_attributes",
    "check_name_is_free",
    "check_owners",
    "encode_attributes",
]

COORDS_KEY: Final = "_pyatlas_coords"
"""Dataset attribute: the names of the coordinates, as a JSON list."""
FILL_KEY: Final = "_FillValue"
"""Variable attribute of CF that becomes the fill value of the array."""


_MOST_LISTS, _LONGEST = 256, 4096
"""Lists of names that are looked at once, and the longest of those that are parsed, in characters."""


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
    order: list[str] | None
    """Names of the arrays in the order of the variables in xarray, likewise."""
    dtypes: dict[str, object]
    """The `DTYPE_KEY` attribute of each array that has one, as stored and not validated."""
    fills: dict[str, object]
    """The `EXACT_FILL_KEY` attribute of each array that has one."""
    encodings: dict[str | None, object]
    """The `ENCODING_KEY` attribute of the dataset, under None, and of each array that has one, not validated."""
    source: object
    """The `SOURCE_KEY` attribute, likewise; None where there is none."""


def check_name_is_free(owner: str, key: AttributeKey) -> None:
    """Raise `InvalidNameError` for an attribute name that is reserved; `owner` names its owner in the message."""
    check_key(key)
    if is_hidden(key):
        raise InvalidNameError(f"{owner}: the attribute name {flatten_key(key)!r} is reserved; rename the attribute")


def encode_attributes(owner: str, attrs: Mapping[Any, Any]) -> dict[str, object]:
    """Validate attributes of xarray and return them encoded; `owner` names their owner in error messages.

    Keys that are not str are converted to str. Raises `InvalidValueError` for values and `InvalidNameError` for keys
    that cannot be stored.
    """
    encoded: dict[str, object] = {}
    for key, value in attrs.items():
        # A look at the names that were checked before takes a tenth of the time of a check.
        text = key if type(key) is str and key != COORDS_KEY and is_plain_key(key) else _attribute_name(owner, key)
        if text in encoded:
            raise InvalidNameError(
                f"{owner}: two attribute names become {text!r}, as names are text; rename one of them"
            )
        try:
            encoded[text] = encode_value(value)
        except AtlasError as error:
            raise type(error)(f"{owner}, attribute {text!r}: {error}") from error
    return encoded


def _attribute_name(owner: str, key: object) -> str:
    try:
        text = recover_text(str(key))
    except AtlasError as error:
        raise InvalidNameError(f"{owner}, name of an attribute: {error}") from error
    if text == COORDS_KEY:
        raise InvalidNameError(f"{owner}: the attribute name {text!r} is reserved; rename the attribute")
    check_name_is_free(owner, text)
    return text


def check_owners(attrs: Mapping[str | None, Mapping[Any, Any]], arrays: Collection[str]) -> None:
    """Check that attributes of xarray come back where they are.

    `attrs` has the attributes of each variable, and at None those of the dataset; `arrays` are the variables' names.
    Raises `InvalidNameError` for an attribute whose name makes it one of another array.
    """
    names = tuple((owner, tuple(map(str, own))) for owner, own in attrs.items())
    astray = _first_astray(names, tuple(arrays))
    if astray is None:
        return
    owner, text, array, name = astray
    own = attrs[owner]
    key = next(key for key in own if recover_text(str(key)) == text)
    here = "ds" if owner is None else f"ds[{owner!r}]"
    new = text.replace(".", "_")
    while new in own:
        new += "_"
    raise InvalidNameError(
        f"{'dataset' if owner is None else f'variable {owner!r}'}: the attribute {text!r} would come back as the "
        f"attribute {name!r} of variable {array!r}, as their names are joined by a dot; rename it: "
        f"{here}.attrs[{new!r}] = {here}.attrs.pop({key!r})"
    )


@lru_cache(_MOST_LISTS)
def _first_astray(
    names: tuple[tuple[str | None, tuple[str, ...]], ...], arrays: tuple[str, ...]
) -> tuple[str | None, str, str | None, str] | None:
    """Return the first attribute that comes back elsewhere, by owner and name, with those that it has then.

    The datasets of a fleet have the same names.
    """
    prefixes = ArrayPrefixes(arrays)
    for owner, own in names:
        for text in map(recover_text, own):
            array, name = prefixes.split(text if owner is None else flatten_key((owner, text)))
            if array != owner:
                return owner, text, array, name
    return None


def assign_attributes(attributes: Mapping[AttributeKey, object], arrays: Collection[str]) -> OwnedAttributes:
    """Assign the exact attributes of a dataset to their owners; `arrays` are the names of its arrays."""
    prefixes, names = ArrayPrefixes(arrays), set(arrays)
    source = attributes.get((SOURCE_KEY,))
    out = OwnedAttributes({}, {name: {} for name in arrays}, None, None, None, {}, {}, {}, source)
    lists: dict[str, list[str] | None] = {}
    for key, value in attributes.items():
        text = flatten_key(key)
        if text in (COORDS_KEY, INDEXES_KEY, ORDER_KEY):
            lists[text] = _parse_names(value, names)
            continue
        owner, name = prefixes.split(text)
        if owner is not None and name == DTYPE_KEY:
            out.dtypes[owner] = value
        elif owner is not None and name == EXACT_FILL_KEY:
            out.fills[owner] = value
        elif name == ENCODING_KEY:
            out.encodings[owner] = value
        elif not is_hidden(text):
            (out.dataset if owner is None else out.variables[owner])[name] = _displayed(key, value)
    return replace(out, coords=lists.get(COORDS_KEY), indexes=lists.get(INDEXES_KEY), order=lists.get(ORDER_KEY))


def _displayed(key: AttributeKey, value: object) -> object:
    if isinstance(value, Timestamp):
        return value.ns
    if isinstance(key, str) and isinstance(value, str) and value.startswith("json:"):
        try:
            parsed = json.loads(value.removeprefix("json:"))
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, list | dict) else value
    # `deepcopy` takes a while to find that text and numbers need no copy.
    return value if isinstance(value, str | int | float) else copy.deepcopy(value)


def _parse_names(value: object, names: Collection[str]) -> list[str] | None:
    if not isinstance(value, str):
        return None
    listed = _listed(value) if len(value) <= _LONGEST else _listed.__wrapped__(value)
    return None if listed is None else [name for name in listed if isinstance(name, str) and name in names]


@lru_cache(_MOST_LISTS)
def _listed(text: str) -> tuple[object, ...] | None:
    """Return the elements of a JSON list, None for other text. The datasets of a fleet share these lists."""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(listed) if isinstance(listed, list) else None
