"""The numbers of codecs and filters in the block table, by name. A reader must refuse any other number."""

from __future__ import annotations

from typing import Final

__all__ = ["CODECS", "FILTERS"]

CODECS: Final = {"none": 0, "zstd": 1, "lz4": 2}
"""How blocks are compressed."""
FILTERS: Final = {"none": 0, "byteshuffle": 1, "bitshuffle": 2}
"""How bytes are ordered before that."""
