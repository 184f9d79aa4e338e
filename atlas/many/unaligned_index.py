"""The labels of an axis that differ between stacked datasets: there, and no index that labels are looked up in.

xarray would say only that it cannot make an index. This one says what to do, and gives way to an index of pandas once
one dataset is selected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from xarray.indexes import Index, PandasIndex

from atlas.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["UnalignedIndex"]


class UnalignedIndex(Index):
    """Labels of (new dimension, axis). Selecting by them raises; selecting by position does not."""

    def __init__(self, variable: xr.Variable, name: str) -> None:
        self._variable = variable
        self._name = name

    @classmethod
    def from_variables(cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]) -> UnalignedIndex:  # noqa: ARG003 - as of xarray
        """Return the index of the one variable given."""
        ((name, variable),) = variables.items()
        return cls(variable, name)

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Any, xr.Variable]:
        """Return the labels as the one coordinate of the index, with the attributes of the one in `variables`."""
        attrs = (variables or {}).get(self._name, self._variable).attrs
        return {self._name: type(self._variable)(self._variable.dims, self._variable.data, attrs)}

    def sel(self, labels: dict[Any, Any], **options: Any) -> Any:  # noqa: ARG002 - as of xarray
        """Raise `InvalidValueError`: a label is at another position in each dataset."""
        across, axis = self._variable.dims
        raise InvalidValueError(
            f"the labels of {axis!r} differ between datasets, so {self._name!r} has no index; select one dataset "
            f"first, as in .isel({across}=0), select by position with isel, or stack with to_xarray_many(..., "
            "join='outer')"
        )

    def isel(self, indexers: Mapping[Any, Any]) -> Index | None:
        """Return the index of what is left; None where that is no axis."""
        left = self._variable.isel({dim: at for dim, at in indexers.items() if dim in self._variable.dims})
        if left.dims == self._variable.dims:
            return UnalignedIndex(left, self._name)
        if left.dims == self._variable.dims[1:]:
            return PandasIndex(left.to_numpy(), left.dims[0])
        return None

    def rename(self, name_dict: Mapping[Any, Any], dims_dict: Mapping[Any, Any]) -> UnalignedIndex:
        """Return the index under other names."""
        dims = [dims_dict.get(dim, dim) for dim in self._variable.dims]
        variable = type(self._variable)(dims, self._variable.data, self._variable.attrs)
        return UnalignedIndex(variable, name_dict.get(self._name, self._name))

    def equals(self, other: Index, **options: Any) -> bool:  # noqa: ARG002 - as of xarray
        """Return whether both have the same labels."""
        return isinstance(other, UnalignedIndex) and bool(pd.DataFrame(self.labels).equals(pd.DataFrame(other.labels)))

    @property
    def labels(self) -> NDArray[Any]:
        """The labels, (datasets, axis)."""
        labels: NDArray[Any] = self._variable.to_numpy()
        return labels

    def to_pandas_index(self) -> pd.Index:
        """Return the positions along the axis, as of an axis without labels."""
        return pd.RangeIndex(self._variable.shape[1], name=self._variable.dims[1])

    def __repr__(self) -> str:
        return f"UnalignedIndex({self._name!r}, {self._variable.dims!r})"
