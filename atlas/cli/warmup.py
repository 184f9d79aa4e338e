"""Compiles all kernels: runs every path that calls one, over small stores in memory, and says what became of them.

Names no kernel: `tests/cli/test_warmup.py` finds the ones that this would miss.
"""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, get_args

import click
import numpy as np

from atlas import Atlas, verify
from atlas.cli.formatting import count_text
from atlas.format.block_types import Codec, Filter
from atlas.format.dtypes import DATATYPES
from atlas.kernels import JIT, count_kernels
from atlas.storage import MemoryStorage

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.dtypes import DataType

__all__ = ["warm_up"]

_SHAPES: tuple[tuple[int, ...], ...] = (), (40,), (6, 7), (4, 3, 5)
_LARGE = 1024, 512
"""Of float32, an array whose chunks are encoded while it is written."""


def warm_up() -> str:
    """Compile or load all kernels, and say in a line what was done.

    Raises `Exit` with code 1 if what was compiled cannot be kept, after a line in the log that says why; and
    `ClickException` if nothing is compiled.
    """
    if not JIT:
        raise click.ClickException("NUMBA_DISABLE_JIT is set, so kernels run as plain Python; unset it to compile them")
    begun = time.perf_counter()
    for at, (codec, filter_) in enumerate(product(get_args(Codec), get_args(Filter))):
        _use_store(codec, filter_, _SHAPES[at % len(_SHAPES)])
        counts = count_kernels()
        if not counts.all_kept:
            raise click.exceptions.Exit(1)
    seconds = time.perf_counter() - begun
    return (
        f"compiled {count_text(counts.compiled, 'kernel')} and loaded {counts.loaded:,} in {seconds:.1f} s; "
        f"kept in {', '.join(counts.folders)}"
    )


def _cells(dtype: DataType, shape: tuple[int, ...]) -> NDArray[Any]:
    numbers = (np.arange(np.prod(shape, dtype=int)) % 100).reshape(shape)
    return numbers.astype({"string": "U", "bytes": "S"}.get(dtype.kind, dtype.memory))


def _use_store(codec: Codec, filter_: Filter, shape: tuple[int, ...]) -> None:
    """Write, read, verify and compact a store of arrays of every dtype."""
    storage = MemoryStorage()
    store = Atlas.create(storage, codec, filter=filter_, cache_bytes=64 << 20)
    varied, constant, empty = store.create_datasets(["varied", "constant", "empty"])
    start, box = [0] * len(shape), tuple((length + 1) // 2 for length in shape)
    dims = [f"dim {axis}" for axis in range(len(shape))]
    for name, dtype in DATATYPES.items():
        for view in (varied, constant, empty):
            view.define_array(name, name, dims, shape, box)
        cells = _cells(dtype, shape)
        varied.write_array(name, start, cells)
        constant.write_array(name, start, np.full_like(cells, cells.flat[-1]))
    varied.define_array("large", "float32", ["y", "x"], _LARGE, [length // 2 for length in _LARGE])
    varied.write_array("large", [0, 0], np.zeros(_LARGE, np.float32))
    store.write_array_across_ragged("rows", store.list_datasets(), np.arange(5.0), [2, 0, 3])
    store.flush()
    store.read_array_across_ragged("rows", store.list_datasets())
    for name, dtype in DATATYPES.items():
        for _ in range(3):  # the third time from memory
            varied.read_array(name, start, box)
            store.read_array_across_stacked(name, store.list_datasets())
        varied.array_stats(name)
        varied.write_array(name, [length // 3 for length in shape], _cells(dtype, box))
        store.read_array_across_stacked(name, store.list_datasets())
    store.compact(keep_days=0)
    verify(storage)
