"""The blocks of a dask array, computed one at a time, each checked against what dask declared.

dask never compares the two: a function that returns a shorter block, or one of another dtype, shows nowhere else.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from dask.base import get_scheduler, optimize
from dask.optimization import cull

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.format.dtypes import exact_times, narrow_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dask.array as da
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Part", "dask_blocks", "is_dask_backed"]

Part: TypeAlias = "tuple[list[int], Callable[[], NDArray[Any]]]"
"""The start of a box of a variable, and a function that loads its cells."""


def is_dask_backed(variable: xr.Variable) -> bool:
    """Return whether the cells of a variable are a dask array.

    xarray takes 10 us to tell. Without `dask.array`, which to import takes much longer, there is none.
    """
    return "dask.array" in sys.modules and variable.__dask_graph__() is not None


def dask_blocks(variable: str, data: da.Array) -> Iterator[Part]:
    """The blocks of `data` that are not empty, in C order; `variable` is its name, for errors.

    Loading one raises `InvalidValueError` for a block of another shape than dask declared, `InvalidTypeError` for one
    of a dtype that does not cast to the declared one, and `OutOfRangeError` for cells that would change.
    """
    # Optimised and flattened once: `data.blocks[i]` would walk the whole graph again for every block.
    (optimized,) = optimize(data)  # type: ignore[no-untyped-call]
    graph = dict(optimized.__dask_graph__())
    get = get_scheduler(collections=[optimized])  # type: ignore[no-untyped-call]

    def load(index: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[Any]:
        key = (optimized.name, *index)
        needed, _ = cull(graph, [key])  # type: ignore[no-untyped-call]
        (block,) = get(needed, [key])
        cells = np.asanyarray(block)  # masked blocks stay masked: the store fills or refuses them
        if cells.shape != shape:
            raise InvalidValueError(
                f"variable {variable!r}: dask declared block {index} with shape {shape}, and it was computed with "
                f"shape {cells.shape}; tell map_blocks(..., chunks=...) the shapes that the function returns"
            )
        return _as_declared(variable, index, cells, data.dtype)

    starts = [tuple(accumulate(lengths, initial=0)) for lengths in data.chunks]
    for index in product(*map(range, data.numblocks)):
        shape = tuple(lengths[i] for i, lengths in zip(index, data.chunks, strict=True))
        if all(shape):
            start = [axis[i] for i, axis in zip(index, starts, strict=True)]
            yield start, partial(load, index, shape)


def _as_declared(variable: str, index: tuple[int, ...], cells: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a block in the dtype that dask declared for it."""
    if cells.dtype == dtype or dtype.kind not in "biufmM":  # text of any width is text
        return cells
    said = f"variable {variable!r}: dask declared dtype {dtype}, and block {index} was computed as {cells.dtype}"
    remedy = (
        f"to declare that, use ds[{variable!r}] = ds[{variable!r}].copy(data=ds[{variable!r}].data.map_blocks("
        f"lambda cells: cells, dtype={cells.dtype.str!r}))"
    )
    is_time = cells.dtype.kind in "mM" or dtype.kind in "mM"
    if (is_time and cells.dtype.kind != dtype.kind) or not np.can_cast(cells.dtype, dtype, "same_kind"):
        raise InvalidTypeError(f"{said}, which does not cast to it; {remedy}")
    cast, lost = (exact_times(cells, dtype), None) if is_time else narrow_numbers(cells, dtype)
    if cast is None or lost is not None:
        raise OutOfRangeError(f"{said}, with cells that {dtype} cannot hold; {remedy}")
    return cast
