"""What an xarray dataset holds, as `writing` takes it: a source without a Dataset needs to make none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex, PandasMultiIndex

from atlas.errors import InvalidTypeError, UnsupportedDtypeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Contents", "LoadedVariable", "contents_of", "dataset_of"]

_SMALL_BYTES = 64 << 10


class LoadedVariable:
    """What an `xr.Variable` in memory holds, while nothing more is asked of it: made in a tenth of the time."""

    __slots__ = ("attrs", "data", "dims", "encoding")

    def __init__(
        self, dims: tuple[Any, ...], data: NDArray[Any], attrs: dict[Any, Any], encoding: dict[Any, Any]
    ) -> None:
        self.dims, self.data, self.attrs, self.encoding = dims, data, attrs, encoding

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its cells."""
        return self.data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of its axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of its cells."""
        return self.data.size

    @property
    def nbytes(self) -> int:
        """Bytes of its cells."""
        return self.data.nbytes

    def to_variable(self) -> xr.Variable:
        """Return it as xarray has it, with the same cells, and attributes and an encoding of its own."""
        return xr.Variable(self.dims, self.data, dict(self.attrs), dict(self.encoding), fastpath=True)


@dataclass(frozen=True, slots=True)
class Contents:
    """Variables, and what is said of them."""

    variables: Mapping[Any, xr.Variable]
    """The variables by name, in their order; cells may not be loaded yet. In the process that reads a file they may be
    each a `LoadedVariable`."""
    coords: frozenset[Any]
    """Names of those that are coordinates."""
    indexes: Mapping[Any, Any]
    """dtypes of the labels in indexes, by the names of the coordinates that have one."""
    attrs: Mapping[Any, Any] = field(default_factory=dict)
    """Attributes of the dataset."""
    encoding: Mapping[Any, Any] = field(default_factory=dict)
    """Encoding of the dataset."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle variables as what they hold, which takes a quarter of the time."""
        parts = [(name, v.dims, _packed(v.data), v.attrs, v.encoding) for name, v in self.variables.items()]
        return _made, (parts, self.coords, self.indexes, self.attrs, self.encoding)

    @property
    def dims(self) -> list[Any]:
        """Names of all dimensions."""
        return list(dict.fromkeys(dim for variable in self.variables.values() for dim in variable.dims))

    @property
    def nbytes(self) -> int:
        """Bytes of all cells in memory, whether they are there or not."""
        return sum(variable.nbytes for variable in self.variables.values())


def _packed(data: Any) -> Any:
    """Return small cells as their bytes, dtype and shape, for which pickle calls no function; else `data`."""
    if type(data) is np.ndarray and data.dtype.kind in "iufbmM" and data.nbytes <= _SMALL_BYTES:
        return data.tobytes(), data.dtype, data.shape
    return data


def _unpacked(data: Any) -> Any:
    if type(data) is tuple:
        return np.frombuffer(data[0], data[1]).reshape(data[2])
    return data


def _made(parts: list[tuple[Any, ...]], *others: Any) -> Contents:
    variables = {
        name: xr.Variable(dims, _unpacked(data), attrs, encoding, fastpath=True)
        for name, dims, data, attrs, encoding in parts
    }
    return Contents(variables, *others)


def contents_of(ds: object) -> Contents:
    """Return what a dataset holds.

    Raises `InvalidTypeError` for what is none, and `UnsupportedDtypeError` for an index that would be lost.
    """
    if not isinstance(ds, xr.Dataset):
        order = "call add_xr_dataset(ds, name) and replace_dataset(name, ds)"
        remedy = order if isinstance(ds, str) else "convert it, for example with to_dataset()"
        raise InvalidTypeError(f"ds is an xarray.Dataset, not {type(ds).__name__}; {remedy}")
    return Contents(ds.variables, frozenset(ds.coords), _indexes(ds), ds.attrs, ds.encoding)


def dataset_of(contents: Contents) -> xr.Dataset:
    """Return contents as a dataset, whose coordinates with the name of their dimension have an index."""
    variables = {
        name: variable.to_variable() if isinstance(variable, LoadedVariable) else variable
        for name, variable in contents.variables.items()
    }
    ds = xr.Dataset(variables, attrs=contents.attrs).set_coords(contents.coords & contents.variables.keys())
    ds.encoding = dict(contents.encoding)
    return ds


def _indexes(ds: xr.Dataset) -> dict[Any, Any]:
    indexes: dict[Any, Any] = {}
    for index, variables in ds.xindexes.group_by_index():
        if type(index) is not PandasIndex:
            remedy = f"ds.drop_indexes({list(variables)!r})"
            if isinstance(index, PandasMultiIndex):
                remedy = f"ds.reset_index({index.dim!r})"
            listed = ", ".join(map(repr, variables))
            raise UnsupportedDtypeError(
                f"the index of {listed} is a {type(index).__name__}, which is not stored; use {remedy} first"
            )
        indexes.update(dict.fromkeys(variables, index.index.dtype))
    return indexes
