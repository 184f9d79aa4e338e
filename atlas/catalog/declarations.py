"""The entries of arrays that a handle declares, and the generation that tells them from all others. No I/O.

An array that is declared in the flush that creates its dataset has generation 0. One that is declared in a committed
dataset gets a random generation: other writers may declare the same array in the same dataset and must not choose the
same one.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from atlas.format.dataset_columns import ArrayEntry

if TYPE_CHECKING:
    from atlas.format.schema import ArraySchema

__all__ = ["Declarations"]


class Declarations:
    """The declarations between two flushes."""

    def __init__(self) -> None:
        self.generation = _new_generation()
        """Generation of arrays that are declared in committed datasets."""
        self._entries: dict[tuple[str, ArraySchema, int], ArrayEntry] = {}

    def entry(self, array: str, schema: ArraySchema, *, new: bool) -> ArrayEntry:
        """Return the entry of an array of a new or a committed dataset; equal arrays share one."""
        key = (array, schema, 0 if new else self.generation)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = ArrayEntry(*key)
        return entry

    def anew(self, arrays: dict[str, ArrayEntry], before: dict[str, ArrayEntry]) -> dict[str, ArrayEntry]:
        """Return the arrays of a new dataset as those of a committed one, whose arrays `before` they replace.

        They are of another generation than all of these: a flush whose answer was lost may have committed chunks of
        what was replaced once already.
        """
        if any(entry.generation == self.generation for entry in before.values()):
            generation = _new_generation()
            return {name: replace(entry, generation=generation) for name, entry in arrays.items()}
        return {name: self.entry(name, entry.schema, new=False) for name, entry in arrays.items()}

    def forget_entries(self) -> None:
        """Forget the entries. The generation stays."""
        self._entries = {}

    def renew(self) -> None:
        """Choose another generation for what is declared from now on."""
        self.generation = _new_generation()
        self._entries = {}

    def renewed(self, arrays: dict[str, ArrayEntry], before: int) -> dict[str, ArrayEntry]:
        """Return the arrays of a dataset, those of the generation `before` with the present one."""
        return {
            name: replace(entry, generation=self.generation) if entry.generation == before else entry
            for name, entry in arrays.items()
        }


def _new_generation() -> int:
    """Return 62 random bits, of which the lowest is set."""
    return secrets.randbits(62) | 1
