"""`xr.Dataset.atlas`, registered when this module is imported. Adds nothing to what the store can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from atlas.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atlas.xarray.interfaces import StoreInterface

__all__ = ["AtlasAccessor"]


@xr.register_dataset_accessor("atlas")  # type: ignore[no-untyped-call]
class AtlasAccessor:
    """The accessor of one xarray dataset."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def write(self, store: StoreInterface, name: str, chunks: Mapping[str, int | Sequence[int]] | None = None) -> None:
        """Add the dataset to an open store; the same as `Atlas.add_xr_dataset`, also for errors.

        Parameters
        ----------
        store : atlas.Atlas
            The open store.
        name : str
            Name of the new dataset.
        chunks : mapping of str to int or sequence of int, optional
            Lengths of chunks by dimension and chunk shapes by variable, in cells. See `Atlas.add_xr_dataset`.

        Raises
        ------
        InvalidTypeError
            (TypeError) where `store` is not an open store, for example a path.

        """
        if not hasattr(store, "add_xr_dataset"):
            raise InvalidTypeError(
                f"write takes an open store, and {store!r} is {type(store).__name__}; open it first: "
                f"store = atlas.Atlas.open(...), or create(...), then ds.atlas.write(store, {name!r})"
            )
        store.add_xr_dataset(self._ds, name, chunks=chunks)
