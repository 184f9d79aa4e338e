"""The chunk shape of each variable: that of its dask array, or what the caller's `chunks` says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    import xarray as xr

    from atlas.xarray.contents import Contents

__all__ = ["Chunks", "check_chunks", "chunk_shape"]

Chunks: TypeAlias = Mapping[Any, int | Sequence[int]]
"""Lengths of chunks by dimension, and chunk shapes by variable, in cells."""


def check_chunks(contents: Contents, chunks: object) -> Chunks:
    """Return what a caller gave as `chunks`, checked: a dimension has a length, a variable a shape.

    Raises `InvalidTypeError` for what is no mapping, or maps a variable to a length, and `InvalidValueError` for a name
    that `contents` does not have and for a length below 1.
    """
    if chunks is None:
        return {}
    if not isinstance(chunks, Mapping):
        raise InvalidTypeError(
            f"chunks maps dimensions to lengths and variables to chunk shapes, such as {{'time': 24, 't': [24, 50]}}, "
            f"and is {chunks!r}; leave it out to keep the chunks of dask"
        )
    for name, value in chunks.items():
        is_length = _is_length(value)
        if is_length and name in contents.dims:
            if value < 1:
                raise InvalidValueError(f"chunks has length {value} for dimension {name!r}; give it 1 or more cells")
        elif name in contents.variables:
            if is_length:
                shape = list(contents.variables[name].shape)
                raise InvalidTypeError(
                    f"chunks has {value} for variable {name!r}; give it a chunk shape, such as {shape}"
                )
        else:
            raise InvalidValueError(
                f"chunks names {name!r}, which the dataset does not have; its dimensions, which take a length, are "
                f"{list(contents.dims)}, and its variables, which take a chunk shape, {list(contents.variables)}"
            )
    return chunks


def chunk_shape(name: str, variable: xr.Variable, chunks: Chunks, *, indexed: bool, dask_backed: bool) -> Any:
    """Return the chunk shape of a variable, None for one chunk; `indexed` tells whether xarray keeps it in memory.

    `dask_backed` tells whether its cells are a dask array. A chunk shape is returned as the caller gave it, to be
    checked with the rest of the schema. Lengths of dimensions leave indexed coordinates whole, as they are always read
    whole.
    """
    given = chunks.get(name)
    if given is not None and not _is_length(given):
        return given
    # `chunks` only of dask arrays: for an array in memory it takes xarray 0.1 ms to return None.
    declared = _largest(variable.chunks) if dask_backed else None
    if not chunks:
        return declared
    lengths: dict[Any, Any] = {dim: chunks[dim] for dim in variable.dims if _is_length(chunks.get(dim))}
    if not lengths or indexed:
        return declared
    extents = zip(variable.dims, variable.shape, declared or variable.shape, strict=True)
    return tuple(min(int(lengths[dim]), max(length, 1)) if dim in lengths else chunk for dim, length, chunk in extents)


def _is_length(value: object) -> bool:
    # NumPy counts timedelta64 among the integers.
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def _largest(chunks: tuple[tuple[int, ...], ...] | None) -> tuple[int, ...] | None:
    """The largest chunk length along each axis: chunks of dask may differ in length, stored chunks may not."""
    if chunks is None:
        return None
    if np.isnan(sum(map(sum, chunks))):
        raise InvalidValueError("the dask array has chunks of unknown size; call its compute_chunk_sizes() first")
    return tuple(map(max, chunks))
