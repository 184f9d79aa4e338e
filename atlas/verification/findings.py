"""What a verification has found so far, and how far it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from atlas.verification.report import Damage

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.catalog.catalog import Catalog

__all__ = ["Findings"]


class Findings:
    """Damage and counts; filled by one thread."""

    def __init__(self, progress: Callable[[int, int], object] | None) -> None:
        self.damage: list[Damage] = []
        """What was found."""
        self.broken: dict[str, set[int]] = {}
        """Ids of the datasets in which an array of that name is not whole."""
        self.lost: set[str] = set()
        """Segments whose indexes cannot be read."""
        self.missing: set[str] = set()
        """Files that are not there."""
        self.files = self.blocks = self.chunks = self.bytes = 0
        """What was read."""
        self.total = 0
        """Bytes that will be read, as far as is known."""
        self.catalog: Catalog | None = None
        """Where names of datasets are looked up."""
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
        """Note damage; a dataset that is given by its id has that array broken."""
        if isinstance(dataset, int):
            if array is not None:
                self.broken.setdefault(array, set()).add(dataset)
            assert self.catalog is not None
            dataset = self.catalog.name_of(dataset)
        self.damage.append(Damage(file, array, dataset, chunk, what))

    def extend(self, file: str, what: str) -> None:
        """Say more of a damaged file."""
        self.damage = [
            replace(damage, what=damage.what + what) if damage.file == file else damage for damage in self.damage
        ]

    def advance(self, size: int) -> None:
        """Note that so many bytes were read."""
        self.bytes += size
        self.total = max(self.total, self.bytes)
        if self._progress is not None:
            self._progress(self.bytes, self.total)
