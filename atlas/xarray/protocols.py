"""What the xarray layer needs of a store and of a dataset, so that it need not import either. Types only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey

__all__ = ["StoreLike", "ViewLike", "XarrayStore"]


class ViewLike(Protocol):
    """A dataset of the store. Pickles by reopening, so that lazy arrays work in other processes."""

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
        """Declare an array."""

    def write_array(self, name: str, start: Sequence[int], data: NDArray[Any]) -> None:
        """Write a box whose corner is `start`."""

    def read_array(
        self, name: str, start: Sequence[int] | None = None, shape: Sequence[int] | None = None
    ) -> NDArray[Any] | None:
        """Read a box, or all; None where the dataset lacks the array."""

    def array_meta(self, array: str) -> dict[str, Any] | None:
        """`dtype`, `shape`, `chunk_shape` and `dimension_names`."""

    def array_fill_value(self, array: str) -> Any:
        """The fill value as a Python scalar, None where none was declared."""

    def exact_attributes(self) -> dict[AttributeKey, object]:
        """Attributes with their exact values, in order; keys that are shown alike stay apart."""

    def set_exact_attribute(self, key: AttributeKey, value: object) -> None:
        """Set an attribute of any exact value."""

    def token(self, array: str) -> str:
        """Text that changes whenever what `read_array` returns may change: store, version, dataset, array, schema."""


class StoreLike(Protocol):
    """A store of datasets."""

    def create_dataset(self, name: str) -> ViewLike:
        """Create a dataset; FileExistsError where there is one."""

    def open_dataset(self, name: str) -> ViewLike:
        """Open a dataset; KeyError where there is none."""

    def discard_dataset(self, name: str) -> None:
        """Forget a dataset that this handle created and has not flushed, with all its pending data."""

    def read_array_across_stacked(self, array: str, dataset_names: Sequence[str]) -> NDArray[Any]:
        """One array of many datasets, of shape (N, *shape)."""


class XarrayStore(Protocol):
    """A store that takes xarray datasets."""

    def add_xr_dataset(self, ds: xr.Dataset, name: str, chunks: Mapping[str, Sequence[int]] | None = None) -> None:
        """Append a dataset."""
