"""Collects what a verification finds: damage, counts of what was read, and progress."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from atlas.runtime.limits import DEFAULT, Limits
from atlas.verification.report import Damage

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.catalog.catalog import Catalog

__all__ = ["Findings"]


class Findings:
    """Damage and counts. Not thread-safe: one thread adds to it."""

    def __init__(self, progress: Callable[[int, int], object] | None, limits: Limits = DEFAULT) -> None:
        self.limits = limits
        """Sizes that the store was written with."""
        self.damage: list[Damage] = []
        """The damage, in the order it was found."""
        self.broken: dict[str, set[int]] = {}
        """By array name, the ids of the datasets in which that array is damaged."""
        self.lost: set[str] = set()
        """Keys of the segments whose indexes cannot be read."""
        self.missing: set[str] = set()
        """Keys of the files that do not exist."""
        self.files = self.blocks = self.chunks = self.bytes = 0
        """How many were read."""
        self.total = 0
        """Bytes that will be read, as far as is known."""
        self.catalog: Catalog | None = None
        """Where the names of datasets are looked up."""
        self._progress = progress

    def add(
        self,
        file: str,
        what: str,
        *,
        array: str | None = None,
        dataset: int | str | None = None,
        chunk: tuple[int, ...] | None = None,
    ) -> None:
        """Note damage. A dataset is given by name, or by its id where its `array` is damaged."""
        if isinstance(dataset, int):
            if array is not None:
                self.broken.setdefault(array, set()).add(dataset)
            assert self.catalog is not None
            dataset = self.catalog.name_of(dataset)
        self.damage.append(Damage(file, array, dataset, chunk, what))

    def extend(self, file: str, what: str) -> None:
        """Append `what` to the message of each damage of a file."""
        self.damage = [
            replace(damage, what=damage.what + what) if damage.file == file else damage for damage in self.damage
        ]

    def advance(self, size: int) -> None:
        """Note that `size` bytes were read."""
        self.bytes += size
        self.total = max(self.total, self.bytes)
        if self._progress is not None:
            self._progress(self.bytes, self.total)
