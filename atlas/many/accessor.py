"""`xr.Dataset.atlas`, registered when this module is imported: writing to a store, and shapes of many datasets.

xarray is made to import this as soon as it looks for its engines: what it calls loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

import atlas.many
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

    def to_padded(self) -> xr.Dataset:
        """Return a ragged dataset with a row for each of its N datasets, filled at the end; in memory.

        Variables along the sample dimension become (N, longest, ...). Shorter rows are filled with the `_FillValue` of
        the variable, else with NaN, NaT or None. Labels that are in every row how those of the longest begin are kept
        once. A coordinate `<dimension>_size` (N,) tells the lengths, as of `Atlas.open_many` with `missing="fill"`.

        Raises
        ------
        InvalidValueError
            (ValueError) where the dataset has no count variable with the attribute `sample_dimension`, or several,
            where lengths do not add up, and for integers and flags without a `_FillValue`.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> for name, cells in (("north", [5.0, 10.0]), ("south", [5.0, 10.0, 20.0])):
        ...     store.add_xr_dataset(xr.Dataset({"t": ("level", cells)}), name)
        >>> store.flush()
        >>> store.open_many(combine="ragged").atlas.to_padded()["t"].values
        array([[ 5., 10., nan],
               [ 5., 10., 20.]])

        """
        return atlas.many.to_padded(self._ds)

    def to_ragged(self) -> xr.Dataset:
        """Return a padded dataset with the cells of its N rows one after another, without filled ends; in memory.

        The opposite of `to_padded`: a count variable `row_size` (N,) tells the lengths.

        Raises
        ------
        InvalidValueError
            (ValueError) where the dataset has no coordinate of lengths with the attribute `padded_dimension`, or
            several, and where cells after the end of a row are not missing.

        """
        return atlas.many.to_ragged(self._ds)

    def dataset(self, name: str) -> xr.Dataset:
        """Return one dataset of a ragged, padded or stacked one, without reading others, where it is lazy.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where the coordinate of the datasets does not have that name, or has it twice.
        InvalidValueError
            (ValueError) where there is no such coordinate, or lengths do not add up.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> for name, cells in (("north", [5.0, 10.0]), ("south", [5.0, 10.0, 20.0])):
        ...     store.add_xr_dataset(xr.Dataset({"t": ("level", cells)}), name)
        >>> store.flush()
        >>> store.open_many(combine="ragged").atlas.dataset("north")["t"].values
        array([ 5., 10.])

        """
        return atlas.many.select_row(self._ds, name)
