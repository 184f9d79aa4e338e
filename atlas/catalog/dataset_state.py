"""One dataset that a handle looks at or changes, and many of them as rows of a document. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.column_builder import build_rows
from atlas.errors import ArrayNotFoundError, InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable
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

    __slots__ = ("_load", "arrays", "attributes", "coordinates", "identity", "name", "new", "shared")

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
        if callable(attributes):
            self._load = attributes
        else:
            self.attributes = attributes
            """Its attributes in their order, as encoded values; looked up at the first use, as few writes need them."""
        self.new = new
        """Whether it was created since the last flush."""
        self.coordinates: frozenset[str] = frozenset()
        """Those of its arrays that were declared as coordinates since the last flush."""

    def __getattr__(self, name: str) -> Any:
        """Look up `attributes`, which have not been asked for before."""
        if name != "attributes":
            raise AttributeError(name)
        self.attributes = self._load()
        return self.attributes

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
