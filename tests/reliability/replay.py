"""What a store holds after a list of flushes, as dictionaries and lists: states are never changed, only succeeded.

Operations name the birth of the dataset and of the array that they are meant for (an attribute and a fill value that no
other has), so that a change which lands on another one of the same name is noticed. Imports nothing of atlas.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

BORN = "born"
"""Attribute that tells the datasets of one name apart."""


@dataclass(frozen=True)
class Cells:
    """An array of one axis."""

    fill: Any
    """Its fill value, which no other declaration has."""
    chunk: int
    """Cells of a chunk."""
    values: tuple[Any, ...]
    """Its cells."""
    written: frozenset[int] = frozenset()
    """The chunks that were written to."""

    def write(self, start: int, values: list[Any]) -> Cells:
        """Return the array with `values` laid over its cells from `start` on."""
        stop = start + len(values)
        touched = range(start // self.chunk, -(-stop // self.chunk))
        cells = (*self.values[:start], *values, *self.values[stop:])
        return replace(self, values=cells, written=self.written.union(touched))

    def stats(self) -> dict[str, Any] | None:
        """Return what `array_stats` says: chunks that were never written count as nulls."""
        if not self.written:
            return None
        found = [self.values[at] for chunk in self.written for at in self.cells_of(chunk)]
        valid = [value for value in found if value != self.fill]
        return {
            "row_count": len(self.values),
            "null_count": len(self.values) - len(valid),
            "min": min(valid, default=None),
            "max": max(valid, default=None),
        }

    def cells_of(self, chunk: int) -> range:
        """Return the positions of the cells of a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, len(self.values)))


@dataclass(frozen=True)
class Dataset:
    """A dataset."""

    arrays: dict[str, Cells] = field(default_factory=dict)
    """Its arrays by name."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Its attributes."""


class Change(NamedTuple):
    """One operation of a flush."""

    what: str
    """"create", "delete", "set", "unset", "define", "drop" or "write"; or "refresh", of the handle."""
    dataset: str
    """Name of the dataset."""
    born: int
    """Which one of that name."""
    key: str = ""
    """Array or attribute."""
    fill: Any = None
    """Which array of that name."""
    value: Any = None
    """Attribute value, (length, chunk) of an array, (start, cells), or version."""


State = dict[str, Dataset]


def settle(changes: list[Change], states: dict[int, State]) -> list[Change]:
    """Return the changes without those that a refresh has made void, because others had removed the same."""
    left: list[Change] = []
    for change in changes:
        if change.what != "refresh":
            left.append(change)
            continue
        shown = states[change.value]
        left = [
            kept
            for kept in left
            if kept.what not in {"unset", "drop"}
            or (found := shown.get(kept.dataset)) is None
            or kept.key in (found.attributes if kept.what == "unset" else found.arrays)
        ]
    return left


def succeed(state: State, changes: list[Change]) -> State:
    """Return the state after a flush. What both sides have made or removed is as the flush has it."""
    after = dict(state)
    for change in changes:
        name, found = change.dataset, after.get(change.dataset)
        if change.what == "create":
            after.pop(name, None)
            after[name] = Dataset({}, {BORN: change.born})
            continue
        same = found is not None and found.attributes[BORN] == change.born
        if change.what == "delete":
            if same:
                del after[name]
            continue
        assert same, f"{change} was committed to another dataset of that name, or to none"
        assert found is not None
        arrays, attributes = dict(found.arrays), dict(found.attributes)
        if change.what == "set":
            attributes[change.key] = change.value
        elif change.what == "unset":
            attributes.pop(change.key, None)
        elif change.what == "define":
            length, chunk = change.value
            arrays[change.key] = Cells(change.fill, chunk, (change.fill,) * length)
        elif change.what == "drop":
            arrays.pop(change.key, None)
        else:
            array = arrays.get(change.key)
            assert array is not None, f"{change} was committed to an array that is gone"
            assert array.fill == change.fill, f"{change} was committed to another array of that name"
            arrays[change.key] = array.write(*change.value)
        after[name] = Dataset(arrays, attributes)
    return after


def show(store: Any) -> State:
    """Return what a handle shows."""
    state = {}
    for name in store.list_datasets():
        view = store.open_dataset(name)
        arrays = {}
        for key in view.list_arrays():
            meta = view.array_meta(key)
            cells = tuple(view.read_array(key).tolist())
            arrays[key] = Cells(view.array_fill_value(key), meta["chunk_shape"][0], cells)
        state[name] = Dataset(arrays, view.attributes())
    return state


def difference(state: State, store: Any) -> str | None:
    """Return how what a handle shows differs from a state, statistics included, None where it does not."""
    shown = show(store)
    if list(shown) != list(state):
        return f"datasets {list(shown)} are not {list(state)}"
    for name, expected in state.items():
        found = shown[name]
        if found.attributes != expected.attributes:
            return f"{name}: attributes {found.attributes} are not {expected.attributes}"
        if found.arrays.keys() != expected.arrays.keys():
            return f"{name}: arrays {list(found.arrays)} are not {list(expected.arrays)}"
        for key, array in expected.arrays.items():
            if replace(array, written=frozenset()) != found.arrays[key]:
                return f"{name}/{key}: {found.arrays[key]} is not {array}"
            stats = store.open_dataset(name).array_stats(key)
            if stats != array.stats():
                return f"{name}/{key}: {stats} is not {array.stats()}"
    return None
