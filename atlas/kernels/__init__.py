"""The basement of the house: compiled kernels over plain arrays. Arrays in, arrays out.

What stands here are the doors: ordinary functions that check and cast, call a kernel that holds no GIL, and turn its
status into `BlockFault` (stored bytes that cannot be right) or ValueError (a request that cannot be). Imports numpy,
numba and the codec packages; no classes but tables of columns, no names, no files, no I/O. `policy` says how kernels
are compiled and kept, `symbols` how they reach zstd and LZ4.
"""

from __future__ import annotations

from atlas.kernels.blocks import decode_block, decode_blocks
from atlas.kernels.boxes import box_cells, fill_boxes, gather, scatter
from atlas.kernels.codec import new_bytes, stored_buffer
from atlas.kernels.encoding import choose_filter, encode_blocks
from atlas.kernels.faults import BlockFault
from atlas.kernels.lots import (
    CUT_BLOCK,
    CUT_SIZE,
    CUT_STRETCH,
    LOT_BLOCK,
    LOT_EDGE,
    LOT_WITHIN,
    STRETCH_PLACE,
    STRETCH_SOURCE,
    plan_lots,
)
from atlas.kernels.search import Found, Index, find_chunks
from atlas.kernels.statistics import ChunkStatistics, chunk_statistics
from atlas.kernels.symbols import NATIVE_CODECS
from atlas.kernels.tables import (
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_SOURCE,
    BLOCK_STORED,
    PIECE_BEGIN,
    PIECE_BLOCK,
    PIECE_CELLS,
    PIECE_CHUNK,
    PIECE_PLACE,
    PIECE_TARGET,
    Geometry,
)
from atlas.kernels.text import gather_text, text_bounds

__all__ = [
    "BLOCK_OFFSET",
    "BLOCK_RAW",
    "BLOCK_SOURCE",
    "BLOCK_STORED",
    "CUT_BLOCK",
    "CUT_SIZE",
    "CUT_STRETCH",
    "LOT_BLOCK",
    "LOT_EDGE",
    "LOT_WITHIN",
    "NATIVE_CODECS",
    "PIECE_BEGIN",
    "PIECE_BLOCK",
    "PIECE_CELLS",
    "PIECE_CHUNK",
    "PIECE_PLACE",
    "PIECE_TARGET",
    "STRETCH_PLACE",
    "STRETCH_SOURCE",
    "BlockFault",
    "ChunkStatistics",
    "Found",
    "Geometry",
    "Index",
    "box_cells",
    "choose_filter",
    "chunk_statistics",
    "decode_block",
    "decode_blocks",
    "encode_blocks",
    "fill_boxes",
    "find_chunks",
    "gather",
    "gather_text",
    "new_bytes",
    "plan_lots",
    "scatter",
    "stored_buffer",
    "text_bounds",
]
