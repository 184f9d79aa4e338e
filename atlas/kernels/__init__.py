"""Compiled kernels over plain arrays: arrays in, arrays out. No names, no files, no I/O.

Exports the doors: ordinary functions that check and cast their arguments, call a kernel that holds no GIL, and turn
its status into `BlockError` (damaged stored bytes) or ValueError (a wrong request). Imports NumPy, Numba and the codec
packages alone. `jit` compiles and caches kernels, `cache_folders` finds where, `symbols` the C functions of zstd, LZ4
and XXH3.
"""

from __future__ import annotations

from atlas.kernels.blocks import decode_block, decode_blocks
from atlas.kernels.cached import copy_boxes
from atlas.kernels.codec import new_bytes, stored_buffer
from atlas.kernels.compiler import JIT
from atlas.kernels.encoding import LEAST_TRIED, choose_filter, encode_blocks, suitable_filter
from atlas.kernels.gather import gather_boxes
from atlas.kernels.jit import KernelCounts, count_kernels
from atlas.kernels.layouts import (
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_SOURCE,
    BLOCK_STORED,
    BOX_COUNT,
    BOX_TARGET,
    PIECE_BEGIN,
    PIECE_BLOCK,
    PIECE_CELLS,
    PIECE_CHUNK,
    PIECE_OFFSET,
    PIECE_TARGET,
    Geometry,
)
from atlas.kernels.ragged import Boxes, ChunkPlan, count_chunks, plan_chunks
from atlas.kernels.read_batches import (
    BATCH_BLOCK,
    BATCH_RANGE,
    BATCH_SIZE,
    RANGE_SOURCE,
    RANGE_TARGET,
    WANTED_BLOCK,
    WANTED_OFFSET,
    WANTED_PIECE,
    plan_read_batches,
)
from atlas.kernels.scatter import fill_boxes, locate_cells, scatter_boxes
from atlas.kernels.search import Found, Index, find_chunks, find_first_apart
from atlas.kernels.statistics import ChunkStatistics, chunk_statistics
from atlas.kernels.status import BlockError
from atlas.kernels.strings import find_distinct, gather_strings, string_offsets
from atlas.kernels.symbols import NATIVE_CODECS

__all__ = [
    "BATCH_BLOCK",
    "BATCH_RANGE",
    "BATCH_SIZE",
    "BLOCK_OFFSET",
    "BLOCK_RAW",
    "BLOCK_SOURCE",
    "BLOCK_STORED",
    "BOX_COUNT",
    "BOX_TARGET",
    "JIT",
    "LEAST_TRIED",
    "NATIVE_CODECS",
    "PIECE_BEGIN",
    "PIECE_BLOCK",
    "PIECE_CELLS",
    "PIECE_CHUNK",
    "PIECE_OFFSET",
    "PIECE_TARGET",
    "RANGE_SOURCE",
    "RANGE_TARGET",
    "WANTED_BLOCK",
    "WANTED_OFFSET",
    "WANTED_PIECE",
    "BlockError",
    "Boxes",
    "ChunkPlan",
    "ChunkStatistics",
    "Found",
    "Geometry",
    "Index",
    "KernelCounts",
    "choose_filter",
    "chunk_statistics",
    "copy_boxes",
    "count_chunks",
    "count_kernels",
    "decode_block",
    "decode_blocks",
    "encode_blocks",
    "fill_boxes",
    "find_chunks",
    "find_distinct",
    "find_first_apart",
    "gather_boxes",
    "gather_strings",
    "locate_cells",
    "new_bytes",
    "plan_chunks",
    "plan_read_batches",
    "scatter_boxes",
    "stored_buffer",
    "string_offsets",
    "suitable_filter",
]
