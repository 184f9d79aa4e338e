"""Lazily indexed variables of many datasets as dask arrays: blocks of many datasets, each one read in bulk.

A graph has one task a block, and one entry for the variable itself, however many datasets it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.utils import parse_bytes
from xarray.core import indexing

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.many.lazy_cells import FlatCells, LazyCells
from atlas.many.part_cells import attributes_of, variable_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atlas.many.plans import Plan

__all__ = ["Blocks", "Chunks"]

Chunks: TypeAlias = "Mapping[str, int | tuple[int, ...]] | str | None"
"""Lengths of blocks by dimension, "auto" to choose them by bytes, None for no dask."""


class Blocks:
    """How lazily indexed cells of a version become what variables hold.

    Raises for `chunks` that say nothing of blocks.
    """

    def __init__(self, chunks: object, new_dim: str, version: str) -> None:
        self._lengths: Mapping[Any, Any] = chunks if isinstance(chunks, Mapping) else {}
        self._is_lazy, self._new_dim, self._version = chunks is None, new_dim, version
        if not (chunks is None or chunks == "auto" or isinstance(chunks, Mapping)):
            raise InvalidTypeError(
                f"chunks is None, 'auto' or a mapping of dimensions to lengths, not {type(chunks).__name__} {chunks!r}"
            )
        for dim, lengths in self._lengths.items():
            some = lengths if isinstance(lengths, tuple | list) else (lengths,)
            if not some or not all(
                isinstance(length, int | np.integer) and not isinstance(length, bool) and (length > 0 or length == -1)
                for length in some
            ):
                raise InvalidValueError(
                    f"chunks has {lengths!r} for {dim!r}; give a length from 1 on, or -1 for all of it"
                )

    def check_dims(self, ds: xr.Dataset) -> None:
        """Raise `InvalidValueError` where lengths are given for a dimension that the result lacks."""
        unknown = [dim for dim in self._lengths if dim not in ds.dims]
        if unknown:
            raise InvalidValueError(
                f"chunks names {unknown[0]!r}, which is no dimension of the result; it has {list(ds.dims)}"
            )

    def variable(
        self,
        plan: Plan,
        dims: tuple[str, ...],
        how: str | Callable[..., Any],
        cells_of: Callable[[np.dtype[Any]], LazyCells],
        *,
        filled: bool,
    ) -> xr.Variable:
        """Return a variable of the datasets; `cells_of` makes its cells of a dtype, and `how` combines attributes.

        `filled` tells whether it has cells that datasets lack.
        """
        dtype, decoded = variable_dtype(plan, filled=filled)
        return xr.Variable(dims, self._data_of(plan.name, dims, cells_of(dtype)), attributes_of(plan, decoded, how))

    def _data_of(self, name: str, dims: Sequence[str], cells: LazyCells) -> Any:
        """Return the data of a variable: lazily indexed, or a dask array.

        Where no length is given along the first axis, blocks have whole datasets, as many as fit in the size of a chunk
        that dask is configured for (`array.chunk-size`). Of a ragged variable the length along the dimension of the
        datasets is a number of datasets.
        """
        if self._is_lazy:
            return indexing.LazilyIndexedArray(cells)
        given = [self._lengths.get(dim, -1) for dim in dims[1:]]
        lengths = [size if length == -1 else length for length, size in zip(given, cells.shape[1:], strict=True)]
        block = np.prod([length if isinstance(length, int) else max(length) for length in lengths], dtype=float)
        limit = parse_bytes(dask.config.get("array.chunk-size")) / max(block * cells.dtype.itemsize, 1)
        rows = _row_lengths(cells, self._lengths, dims[0], self._new_dim, limit)
        try:
            parts: Any = da.core.normalize_chunks((rows, *lengths), cells.shape, dtype=cells.dtype)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise InvalidValueError(f"chunks does not fit variable {name!r}: {error}") from error
        key = f"atlas-{name}-{tokenize(self._version, cells.token, cells.dtype.str, parts)}"
        meta = np.empty((0,) * cells.ndim, cells.dtype)
        return da.from_array(cells, parts, name=key, meta=meta)  # type: ignore[no-untyped-call]


def _row_lengths(
    cells: LazyCells, given: Mapping[str, Any], first: str, new_dim: str, most: float
) -> int | tuple[int, ...]:
    """Return the lengths of blocks along the first axis; `most` rows fit in a block."""
    if first in given:
        return cells.shape[0] if given[first] == -1 else given[first]
    if not isinstance(cells, FlatCells):
        return max(1, min(int(most), cells.shape[0]))
    offsets = cells.offsets
    if new_dim in given:
        datasets = len(offsets) - 1 if given[new_dim] == -1 else given[new_dim]
        if not isinstance(datasets, int):
            edges = np.append(0, np.cumsum(datasets))
        else:
            edges = np.arange(0, len(offsets) - 1 + datasets, datasets)
        lengths = np.diff(offsets[np.minimum(edges, len(offsets) - 1)])
    else:
        # Whole datasets, as long as they fit: a block ends before the dataset that would be too much.
        lengths = np.diff(offsets)
        number = np.maximum(offsets[1:] - 1, 0) // max(int(most), 1)
        ends = np.flatnonzero(np.append(number[1:] != number[:-1], True))
        lengths = np.diff(np.append(0, offsets[ends + 1]))
    return tuple(int(length) for length in lengths if length) or (0,)
