"""The public calls that cells go through, so that users can watch a stream of them. Types only.

Everything else this package asks the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["ArrayInterface", "DatasetInterface", "StoreInterface"]


class ArrayInterface(Protocol):
    """An array of a dataset (`atlas.ArrayView`)."""

    def __getitem__(self, key: Any) -> Any:
        """Read what a NumPy index takes."""


class DatasetInterface(Protocol):
    """A dataset of a store (`atlas.DatasetView`). Pickling works, so that lazy arrays run in other processes."""

    @property
    def name(self) -> str:
        """Name of the dataset."""

    def __getitem__(self, array: str) -> ArrayInterface:
        """Return one array; KeyError where the dataset lacks it."""

    def define_array(
        self,
        name: str,
        dtype: Any,
        dims: Sequence[str],
        shape: Sequence[int],
        chunk_shape: Sequence[int] | None = None,
        fill_value: Any = None,
    ) -> None:
        """Define an array."""

    def write_array(self, name: str, start: Sequence[int], data: NDArray[Any]) -> None:
        """Write a box that begins at `start`."""

    def read_array(
        self, name: str, start: Sequence[int] | None = None, shape: Sequence[int] | None = None
    ) -> NDArray[Any] | None:
        """Read a box, or the whole array; None where the dataset lacks the array."""

    def array_meta(self, array: str) -> Mapping[str, Any] | None:
        """`dtype`, `shape`, `chunk_shape` and `dimension_names`; None where the dataset lacks the array."""


class StoreInterface(Protocol):
    """An open store (`atlas.Atlas`)."""

    def open_dataset(self, name: str) -> DatasetInterface:
        """Open a dataset; KeyError where the store has none of that name."""

    def read_array_across(self, array: str, dataset_names: Sequence[str]) -> list[NDArray[Any] | None]:
        """One array of each of N datasets; None where a dataset lacks it."""

    def read_array_across_stacked(self, array: str, dataset_names: Sequence[str]) -> NDArray[Any]:
        """One array of N datasets as one array of shape (N, *shape)."""

    @property
    def open_many(self) -> Callable[..., xr.Dataset]:
        """Many datasets as one, as `Atlas.open_many`."""

    def add_xr_dataset(
        self, ds: xr.Dataset, name: str, chunks: Mapping[str, int | Sequence[int]] | None = None
    ) -> None:
        """Add an xarray dataset as `name`."""
