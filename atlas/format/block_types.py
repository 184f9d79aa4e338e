"""The numbers of codecs and filters in the block table, by name. A reader must refuse any other number."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["CODECS", "FILTERS", "Codec", "Filter"]

CODECS: Final = {"none": 0, "zstd": 1, "lz4": 2}
"""How blocks are compressed."""
FILTERS: Final = {"none": 0, "byteshuffle": 1, "bitshuffle": 2, "decimal": 3, "delta": 4, "decimaldelta": 5}
"""What becomes of cells before that."""

Codec: TypeAlias = Literal["zstd", "lz4", "none", "uncompressed"]
"""What users name a codec by; "uncompressed" is "none"."""
Filter: TypeAlias = Literal["auto", "none", "byteshuffle", "bitshuffle", "decimal", "delta", "decimaldelta"]
"""What users name a filter by; "auto" chooses one of the others for each array and flush."""
