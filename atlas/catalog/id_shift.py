"""A range of dataset ids that a commit raised, because another writer had given the same ids. Pure; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IdShift"]


@dataclass(frozen=True, slots=True)
class IdShift:
    """New datasets of a handle take the ids after those that other writers gave first."""

    first: int
    """Ids from this one on are raised."""
    by: int
    """What is added to them; 0 where nothing moves."""

    def apply(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `ids` as they are in the store."""
        return ids + np.where(ids >= self.first, self.by, 0) if self.by else ids

    def apply_one(self, identity: int) -> int:
        """Return one id as it is in the store."""
        return identity + self.by if identity >= self.first else identity
