"""Baselines without an engine: a NumPy copy, a dask graph of one delayed object per chunk, and imports."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Engine, Values, chunked, run_python

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plain"]


class Plain(Engine):
    """Baselines to compare ours with."""

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {version(name)}" for name in ("numpy", "dask", "xarray"))

    # Whole arrays

    def prepare_read_plain(self) -> None:
        assert self.data

    def read_plain(self) -> Values:
        values = self.data[self.work.variables[0]]
        out = np.empty_like(values)
        np.copyto(out, values)
        return [out]

    # Lazy arrays

    @cached_property
    def _chunks(self) -> NDArray[np.float32]:
        return chunked()

    def prepare_lazy(self) -> None:
        assert self._chunks.size
        self.lazy()  # imports

    def lazy(self) -> None:
        import dask  # noqa: PLC0415
        import dask.array as da  # noqa: PLC0415
        import xarray as xr  # noqa: PLC0415

        values = self._chunks

        def read(at: int) -> NDArray[np.float32]:
            return values[at : at + 1]

        blocks = [
            da.from_delayed(dask.delayed(read)(at), shape=(1, values.shape[1]), dtype=values.dtype)
            for at in range(len(values))
        ]
        self._lazy: Any = xr.Dataset({"values": (("chunk", "cell"), da.concatenate(blocks))})

    def check_lazy(self) -> Values:
        return [self._lazy["values"].values]

    # Starting

    def imports(self) -> None:
        run_python("-c", "import xarray, dask.array")
