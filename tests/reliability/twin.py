"""A store in dictionaries that takes the calls of `Atlas` by name, so that one list of steps does both."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.model import ModelArray, identical

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from atlas import Atlas

Content = dict[str, tuple[dict[str, Any], "dict[str, np.ndarray]"]]
"""Attributes and arrays of each dataset, in order."""


class TwinDataset:
    """What `DatasetView` does, for the calls that steps make."""

    def __init__(self) -> None:
        self.arrays: dict[str, ModelArray] = {}
        self.attributes: dict[str, Any] = {}

    def define_array(self, name, dtype, dims, shape, chunk_shape=None, fill_value=None):
        self.arrays[name] = ModelArray(dtype, tuple(dims), tuple(shape), tuple(chunk_shape or shape), fill_value)

    def write_array(self, name, start, data):
        self.arrays[name].write(tuple(start), data)

    def delete_array(self, name):
        del self.arrays[name]

    def set_attribute(self, key, value):
        self.attributes[key] = value

    def delete_attribute(self, key):
        del self.attributes[key]


class Twin:
    """What `Atlas` does, for the calls that steps make, and what is committed meanwhile."""

    def __init__(self) -> None:
        self.datasets: dict[str, TwinDataset] = {}
        self.flushed: Content | None = None
        """What whoever opens the store sees, None before there is one."""
        self._committed: dict[str, TwinDataset] = {}
        self._versions: list[dict[str, TwinDataset]] = []
        self._pending: list[Callable[[Any], object]] = []

    def do(self, step: Callable[[Any], object]) -> None:
        """Take a step and remember it until it is flushed."""
        self._pending.append(step)
        step(self)

    def rival(self, step: Callable[[Any], object]) -> None:
        """Take a step that another writer commits, unseen here until the next flush."""
        self._commit([step])

    def _commit(self, steps: list[Callable[[Any], object]]) -> None:
        other = Twin()
        other.datasets = copy.deepcopy(self._committed)
        for step in steps:
            step(other)
        self._committed = other.datasets
        self._versions.append(copy.deepcopy(other.datasets))
        self.flushed = other.content()

    def create_dataset(self, name):
        self.datasets[name] = TwinDataset()
        return self.datasets[name]

    def open_dataset(self, name):
        return self.datasets[name]

    def delete_dataset(self, name):
        del self.datasets[name]

    def flush(self, message=None):
        # The last step is this one.
        self._commit(self._pending[:-1])
        self._pending = []
        self.datasets = copy.deepcopy(self._committed)

    def compact(self, **_):
        self.flush()

    def refresh(self):
        self._pending.pop()
        self.datasets = copy.deepcopy(self._committed)
        for step in self._pending:
            step(self)

    def rollback(self, version):
        self._committed = copy.deepcopy(self._versions[version])
        self.flush()

    def content(self) -> Content:
        """Return all there is, as it is now."""
        return {
            name: (copy.copy(dataset.attributes), {key: array.read() for key, array in dataset.arrays.items()})
            for name, dataset in self.datasets.items()
        }


def content_of(store: Atlas) -> Content:
    """Return all that a store shows."""
    found: Content = {}
    for name in store.list_datasets():
        view = store.open_dataset(name)
        found[name] = (view.attributes(), {array: view.read_array(array) for array in view.list_arrays()})
    return found


def difference(found: Content | None, expected: Content | None) -> str | None:
    """Return in words where two contents differ first, None where they are the same."""
    if found is None or expected is None:
        return None if found is expected else f"{'no' if found is None else 'a'} store"
    if list(found) != list(expected):
        return f"datasets {list(found)} for {list(expected)}"
    for name, (attributes, arrays) in expected.items():
        if found[name][0] != attributes:
            return f"{name}: attributes {found[name][0]} for {attributes}"
        if sorted(found[name][1]) != sorted(arrays):
            return f"{name}: arrays {sorted(found[name][1])} for {sorted(arrays)}"
        for array, cells in arrays.items():
            if not identical(found[name][1][array], cells):
                return f"{name}/{array}: {found[name][1][array].tolist()} for {cells.tolist()}"
    return None
