"""`xr.Dataset.atlas`, registered when this module is imported. Does nothing that the store does not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from atlas.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atlas.xarray.protocols import XarrayStore

__all__ = ["AtlasAccessor"]


@xr.register_dataset_accessor("atlas")  # type: ignore[no-untyped-call]
class AtlasAccessor:
    """The accessor of one xarray dataset."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def write(self, store: XarrayStore, name: str, chunks: Mapping[str, Sequence[int]] | None = None) -> None:
        """Append the dataset to `store` as `name`; the same as `store.add_xr_dataset`.

        Raises `InvalidTypeError` where `store` is no open store, a path among them.
        """
        if not hasattr(store, "add_xr_dataset"):
            raise InvalidTypeError(
                f"write takes an open store, and {store!r} is {type(store).__name__}; open it first: "
                f"store = atlas.Atlas.open(...), or create(...), then ds.atlas.write(store, {name!r})"
            )
        store.add_xr_dataset(self._ds, name, chunks=chunks)
