"""Digests of chunks: equal ones tell that two chunks hold the same cells, without reading either. No I/O.

XXH3 of 128 bits over the bytes of the chunk, seeded with what its statistics depend on (docs/format.md, "Shared
chunks"). Nothing is trusted to a digest that a writer has not compared with the cells: see `commit.stored_chunks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import xxhash

from atlas.format.strings import encode_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.format.schema import ArraySchema

__all__ = ["DIGEST", "NO_DIGESTS", "Content", "content_of"]

DIGEST: Final = np.dtype("S16")
"""An array of digests, 16 bytes each. Compare and sort such arrays; one item of them loses the zeros at its end."""
NO_DIGESTS: Final = np.empty(0, DIGEST)


class Content(NamedTuple):
    """What tells the cells of a chunk from all others."""

    digest: bytes
    """Their digest."""
    nbytes: int
    """The bytes of the chunk."""
    cells: int
    """Their number."""
    schema: ArraySchema
    """A schema of their dtype and fill value."""


def content_of(schema: ArraySchema, cells: NDArray[Any]) -> Content:
    """Return what a chunk holds with `cells`, 1-D in C order: of the stored dtype, or str, bytes and None."""
    data: Any
    if schema.datatype.cell is None:
        data = encode_cells(cells.tolist())
    else:
        data = np.ascontiguousarray(cells).view(np.uint8).data
    fill = b"" if schema.fill is None else b"\0" + schema.fill_bits
    seed = xxhash.xxh3_64_intdigest(schema.datatype.name.encode() + fill)
    return Content(xxhash.xxh3_128_digest(data, seed), len(data), len(cells), schema)
