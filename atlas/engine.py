"""The engine `atlas` of xarray: `atlas.xarray.entrypoint` with the public calls that open a store.

xarray imports this module as soon as it looks for any engine by name, so that it imports a store only to open one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.xarray.entrypoint import OpenStore, StoreEntrypoint

if TYPE_CHECKING:
    import os

__all__ = ["AtlasBackendEntrypoint"]


class AtlasBackendEntrypoint(StoreEntrypoint):
    """Opens datasets of a store through xarray: `xr.open_dataset(path, engine="atlas", group="monday")`.

    The class stands for the engine where the package is on the path and not installed.

    Examples
    --------
    >>> with atlas.Atlas.create(path) as store:
    ...     store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0, 2.0, 3.0])}), "monday")
    >>> from atlas.engine import AtlasBackendEntrypoint
    >>> with xr.open_dataset(path, engine=AtlasBackendEntrypoint) as ds:
    ...     ds["t"][::2].values
    array([1., 3.])

    """

    def open_store(self, source: Any, version: int | None) -> OpenStore:
        """Open a location to read; of an open store, use its handle, or open the version asked for."""
        from atlas.store import Atlas, session_of  # noqa: PLC0415 - takes half a second

        if isinstance(source, Atlas):
            if version is None or version == source.version:
                return OpenStore(source, session_of(source), None)
            source = session_of(source).view.storage
        store = Atlas.open(source, version, mode="r")
        return OpenStore(store, session_of(store), store.close)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether this is an open store or a folder that holds one, by its checkpoint. Never raises.

        A bucket is opened by `engine="atlas"` alone.
        """
        if isinstance(filename_or_obj, str) or hasattr(filename_or_obj, "__fspath__"):
            return _is_folder(filename_or_obj)
        store = sys.modules.get("atlas.store")  # without it there is no handle
        return store is not None and isinstance(filename_or_obj, store.Atlas)


def _is_folder(path: str | os.PathLike[str]) -> bool:
    try:
        if not Path(path).expanduser().is_dir():
            return False
        from atlas.commit.documents import holds_checkpoint  # noqa: PLC0415 - takes a while, and most paths are files
        from atlas.storage import open_storage  # noqa: PLC0415

        return holds_checkpoint(open_storage(path))
    except Exception:  # noqa: BLE001 - xarray asks about anything, and warns of what is raised
        return False
