"""One dataset that a handle looks at or changes, and many of them as rows of a document. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.column_builder import build_rows
from atlas.errors import ArrayNotFoundError, InvalidTypeError
from atlas.format.attribute_keys import are_shown_apart, find_key, flatten_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import ArrayEntry, RowBatch

__all__ = ["DatasetState", "check_array_name", "state_rows"]


def check_array_name(name: object) -> None:
    """Raise `InvalidTypeError` for what cannot be the name of an array that is looked up."""
    if not isinstance(name, str):
        raise InvalidTypeError(
            f"an array name is a str, not {type(name).__name__} {name!r}; list_arrays() returns the names"
        )


class DatasetState:
    """One dataset."""

    __slots__ = (
        "_attributes",
        "_load",
        "_set",
        "arrays",
        "coordinates",
        "identity",
        "name",
        "new",
        "replaced",
        "shared",
    )

    def __init__(
        self,
        identity: int,
        name: str,
        arrays: dict[str, ArrayEntry],
        attributes: dict[AttributeKey, Any] | Callable[[], dict[AttributeKey, Any]],
        *,
        new: bool,
    ) -> None:
        self.identity = identity
        """Its id. No other dataset ever has it."""
        self.name = name
        """Its name."""
        self.arrays = arrays
        """Its arrays in their order. To change them, call `own_arrays`."""
        self.shared = True
        """Whether other datasets may share the dictionary `arrays`."""
        self._set: dict[str, Any] = {}  # what was set before the attributes were looked up: no key has a dot
        self._attributes: dict[AttributeKey, Any] | None = None
        if callable(attributes):
            self._load = attributes
        else:
            self._attributes = attributes
        self.new = new
        """Whether it was created since the last flush."""
        self.replaced = False
        """Whether it is committed, and nothing that it has was there before: it was replaced since the last flush."""
        self.coordinates: frozenset[str] = frozenset()
        """Those of its arrays that were declared as coordinates since the last flush."""

    @property
    def attributes(self) -> dict[AttributeKey, Any]:
        """Its attributes in their order, as encoded values; looked up at the first use, as few writes need them.

        The caller must hold `writing`, for as long as it relies on this dictionary; others call `attributes_now`.
        """
        if self._attributes is None:
            self._attributes = self._looked_up()
        return self._attributes

    @attributes.setter
    def attributes(self, attributes: dict[AttributeKey, Any]) -> None:
        self._attributes = attributes

    def _looked_up(self) -> dict[AttributeKey, Any]:
        found = self._load()
        for key, value in self._set.copy().items():
            found = _with_attribute(found, key, value)
        return found

    def attributes_now(self) -> dict[AttributeKey, Any]:
        """Return its attributes as they are now, in a new dictionary. Needs no lock."""
        found = self._attributes
        return self._looked_up() if found is None else found.copy()

    def set_attribute(self, key: AttributeKey, value: Any) -> None:
        """Set an attribute, in the position of the one that is shown alike, if there is one."""
        found = self._attributes
        if found is None:
            if type(key) is str and "." not in key:
                self._set[key] = value  # looking up the others takes longer than all else
                return
            found = self.attributes
        self._attributes = _with_attribute(found, key, value)

    def set_attributes(self, values: Mapping[AttributeKey, Any]) -> None:
        """Set many attributes likewise."""
        found = self.attributes
        if not found and are_shown_apart(tuple(values)):
            found.update(values)
            return
        for key, value in values.items():
            found = _with_attribute(found, key, value)
        self._attributes = found

    def own_arrays(self) -> dict[str, ArrayEntry]:
        """Return its arrays in a dictionary of its own, which the caller may change."""
        if self.shared:
            self.arrays, self.shared = dict(self.arrays), False
        return self.arrays

    def is_coordinate(self, entry: ArrayEntry) -> bool:
        """Return whether one of its arrays is known to be a coordinate, of which equal chunks are stored once."""
        return entry.schema.dims == (entry.name,) or entry.name in self.coordinates

    def find(self, name: str) -> ArrayEntry | None:
        """Return one of its arrays, None where there is none of that name. Raises `InvalidTypeError` for no str."""
        if not isinstance(name, str):
            check_array_name(name)
        return self.arrays.get(name)

    def array(self, name: str) -> ArrayEntry:
        """Return one of its arrays, or raise `ArrayNotFoundError`; `InvalidTypeError` for no str."""
        entry = self.find(name)
        if entry is None:
            raise ArrayNotFoundError(
                f"dataset {self.name!r} has no array {name!r}; it has {', '.join(map(repr, self.arrays)) or 'none'}"
            )
        return entry


def _with_attribute(attributes: dict[AttributeKey, Any], key: AttributeKey, value: Any) -> dict[AttributeKey, Any]:
    """Return `attributes` with another one, in the position of the one that is shown alike; it may be changed."""
    if key not in attributes:
        known = find_key(attributes, flatten_key(key))
        if known is not None:
            attributes = {key if name == known else name: old for name, old in attributes.items()}
    attributes[key] = value
    return attributes


def state_rows(states: list[DatasetState]) -> RowBatch:
    """Return datasets as rows."""
    states = sorted(states, key=lambda state: state.identity)
    # Equal dictionaries may come more than once. Counting the shared and the empty ones once saves time.
    arrays = {id(state.arrays): state.arrays for state in states}
    attributes = {id(state.attributes) if state.attributes else 0: state.attributes for state in states}
    layout_of, set_of = ({key: at for at, key in enumerate(distinct)} for distinct in (arrays, attributes))
    return build_rows(
        np.array([state.identity for state in states], np.int64),
        [state.name for state in states],
        [tuple(some.values()) for some in arrays.values()],
        np.array([layout_of[id(state.arrays)] for state in states], np.int64),
        list(attributes.values()),
        np.array([set_of[id(state.attributes) if state.attributes else 0] for state in states], np.int64),
    )
