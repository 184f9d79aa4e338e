"""Reads in bulk: of what a handle shows, or of one version of its store, whatever the handle shows by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from atlas.errors import AtlasError
from atlas.session import reopen

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atlas.read.reader import Reader
    from atlas.runtime.limits import Limits
    from atlas.session import Session
    from atlas.storage import Storage

__all__ = ["HandleReads", "PinnedReads", "Reads"]

_T = TypeVar("_T")


class Reads(Protocol):
    """Reads in bulk."""

    def read(self, call: Callable[[Reader], _T]) -> _T:
        """Return what `call` returns for a reader."""


@dataclass(frozen=True, slots=True)
class HandleReads:
    """Reads what a handle shows, with what is pending."""

    session: Session
    """The session of the handle."""

    def read(self, call: Callable[[Reader], _T]) -> _T:
        """Return what `call` returns for the reader of the handle."""
        return call(self.session.reader)


@dataclass(frozen=True, slots=True)
class PinnedReads:
    """Reads one version. Pickles as location and version."""

    session: Session
    """A session that showed it, with nothing pending."""
    version: int
    """The version."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self.session.address, self.version)

    @property
    def token(self) -> str:
        """Text that names the store and the version."""
        return f"{self.session.view.storage.token}@{self.version}"

    def read(self, call: Callable[[Reader], _T]) -> _T:
        """Return what `call` returns for a reader of the version.

        Raises `StaleHandleError` where the handle has moved on and the version is no longer kept.
        """
        if self._is_shown():
            try:
                found = call(self.session.reader)
            except AtlasError:
                if self._is_shown():
                    raise
            else:
                if self._is_shown():  # another thread may have moved the handle meanwhile
                    return found
        return call(_open(self.session.address, self.version).session.reader)

    def _is_shown(self) -> bool:
        return self.session.catalog.version == self.version and not self.session.pending


def _open(address: tuple[Storage, Limits, int | None], version: int) -> PinnedReads:
    storage, limits, cache_bytes = address
    return PinnedReads(reopen(storage, version, limits, read_only=True, cache_bytes=cache_bytes), version)
