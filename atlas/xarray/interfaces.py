"""The calls that this package makes on a store and on a dataset, so that it need not import either. Types only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey

__all__ = ["DatasetInterface", "StoreInterface"]


class DatasetInterface(Protocol):
    """A dataset of a store (`atlas.DatasetView`). Pickling works, so that lazy arrays run in other processes."""

    @property
    def name(self) -> str:
        """Name of the dataset."""

    def list_arrays(self) -> list[str]:
        """Names of the arrays, in the order they were defined."""

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

    def array_meta(self, array: str) -> dict[str, Any] | None:
        """`dtype`, `shape`, `chunk_shape` and `dimension_names`; None where the dataset lacks the array."""

    def array_fill_value(self, array: str) -> Any:
        """The fill value as a Python scalar, None where none was declared."""

    def exact_attributes(self) -> dict[AttributeKey, object]:
        """Attributes with exact keys and values, in order."""

    def set_exact_attribute(self, key: AttributeKey, value: object) -> None:
        """Set an attribute by its exact key."""

    def token(self, array: str) -> str:
        """Text that changes whenever what `read_array` returns may change: store, version, dataset, array, schema."""


class StoreInterface(Protocol):
    """An open store (`atlas.Atlas`)."""

    def create_dataset(self, name: str) -> DatasetInterface:
        """Create a dataset; FileExistsError where the name is taken."""

    def open_dataset(self, name: str) -> DatasetInterface:
        """Open a dataset; KeyError where the store has none of that name."""

    def discard_dataset(self, name: str) -> None:
        """Drop a dataset that this handle created and has not flushed, with all its pending data."""

    def read_array_across_stacked(self, array: str, dataset_names: Sequence[str]) -> NDArray[Any]:
        """One array of N datasets as one array of shape (N, *shape)."""

    def add_xr_dataset(self, ds: xr.Dataset, name: str, chunks: Mapping[str, Sequence[int]] | None = None) -> None:
        """Add an xarray dataset as `name`."""
