"""Digests of chunks: equal ones tell that two chunks hold the same cells, without reading either. No I/O.

XXH3 of 128 bits over the bytes of the chunk, seeded with what its statistics depend on (docs/format.md, "Shared
chunks"). Nothing is trusted to a digest that a writer has not compared with the cells: see `commit.stored_chunks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xxhash

from atlas.format.strings import encode_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.format.schema import ArraySchema

__all__ = ["DIGEST", "NO_DIGESTS", "chunk_digest"]

DIGEST: Final = np.dtype("S16")
"""An array of digests, 16 bytes each. Compare and sort such arrays; one item of them loses the zeros at its end."""
NO_DIGESTS: Final = np.empty(0, DIGEST)


def chunk_digest(schema: ArraySchema, cells: NDArray[Any]) -> bytes:
    """Return the digest, 16 bytes, of a chunk with `cells`, 1-D in C order: of the stored dtype, or str or bytes."""
    seed = xxhash.xxh3_64_intdigest(
        schema.datatype.name.encode() + (b"" if schema.fill is None else b"\0" + schema.fill_bits)
    )
    if schema.datatype.cell is None:
        return xxhash.xxh3_128_digest(encode_cells(cells.tolist()), seed)
    return xxhash.xxh3_128_digest(np.ascontiguousarray(cells).view(np.uint8).data, seed)
