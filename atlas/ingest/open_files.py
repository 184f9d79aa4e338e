"""What `atlas.ingest.reading` needs of a file that is open, whatever opened it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

    import xarray as xr

    from atlas.xarray import LoadedVariable

    FileVariable: TypeAlias = xr.Variable | LoadedVariable

__all__ = ["FileVariable", "OpenFile"]


class OpenFile(Protocol):
    """A file that is open. All names are those of its root."""

    @property
    def groups(self) -> list[str]:
        """Names of its groups."""

    @property
    def dims(self) -> Collection[str]:
        """Names of its dimensions."""

    @property
    def names(self) -> list[str]:
        """Names of its variables, in their order."""

    @property
    def coords(self) -> frozenset[str]:
        """Names of variables that are coordinates, whatever attributes say."""

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""

    @property
    def lost_attributes(self) -> dict[str, str]:
        """Attributes that cannot be read, those of a variable after its name and a dot, and why."""

    @property
    def encoding(self) -> dict[str, Any]:
        """The encoding of the dataset, without its source."""

    def unsupported(self) -> dict[str, str]:
        """Return the names of what is of a dtype that is not stored or cannot be read, with the reasons."""

    def open(self, name: str) -> FileVariable:
        """Return a variable undecoded."""
