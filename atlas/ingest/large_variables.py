"""Large variables of a file as dask arrays, of which a worker reads one block at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from atlas.ingest.reading import LargeVariable, ReadFile, ReadOptions
    from atlas.ingest.sources import FileSource
    from atlas.ingest.workers import Worker
    from atlas.xarray import Contents

__all__ = ["whole_contents"]


def whole_contents(
    source: FileSource, read: ReadFile, worker: Worker, options: ReadOptions, chunks: Mapping[str, int]
) -> Contents:
    """Return what a file holds, with its large variables; `chunks` are lengths of blocks by dimension."""
    if not read.large:
        return read.contents
    variables = dict(read.contents.variables)
    for name, large in read.large.items():
        cells = _RemoteCells(worker, source, options, read, name)
        lengths = _block_lengths(large, options.large_bytes, chunks)
        blocks = da.from_array(cells, lengths, name=f"{source.path}:{name}", asarray=False)  # type: ignore[no-untyped-call]
        variables[name] = xr.Variable(large.dims, blocks, large.attrs, large.encoding)
    return replace(read.contents, variables={name: variables[name] for name in read.order})


def _block_lengths(large: LargeVariable, block_bytes: int, chunks: Mapping[str, int]) -> Any:
    asked = {axis: chunks[str(dim)] for axis, dim in enumerate(large.dims) if dim in chunks}
    if asked:
        return tuple(asked.get(axis, -1) for axis in range(len(large.dims)))
    if large.dtype == object:
        itemsize = large.dtype.itemsize * int(np.prod(large.shape[1:]))
        return (max(1, block_bytes // max(itemsize, 1)), *large.shape[1:])
    with dask.config.set({"array.chunk-size": block_bytes}):
        return da.core.normalize_chunks("auto", large.shape, dtype=large.dtype)  # type: ignore[no-untyped-call]


class _RemoteCells:
    """The cells of a large variable, read by a worker block by block."""

    def __init__(self, worker: Worker, source: FileSource, options: ReadOptions, read: ReadFile, name: str) -> None:
        left_out = replace(options, drop=(*options.drop, *read.dropped))
        kept = (tuple(read.kept_raw), tuple(read.untouched))
        self._call = partial(worker.call, "block", source.path, left_out, source.engine, read.fingerprint, *kept, name)
        large = read.large[name]
        self.shape, self.dtype, self.ndim = large.shape, large.dtype, len(large.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block."""
        cells: NDArray[Any] = self._call(key)
        return cells
