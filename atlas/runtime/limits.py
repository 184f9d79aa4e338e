"""The sizes that decide how a store works and never what it holds, in one frozen value that every handle takes.

Tests use small ones, so that a handful of cells makes pages, shared blocks, cut chunks, spills and several batches.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from atlas.errors import InvalidTypeError, InvalidValueError

__all__ = ["DEFAULT", "MOST_PACK_COMMITS", "Limits", "limits_or_default"]

_LEAST = {
    "cut_into": 16, "joined_at_once": 2, "pack_commits": 2, "shared_block": 1, "partial_bytes": 1, "task_bytes": 1,
    "copied_bytes": 1, "batch_bytes": 1
}  # fmt: skip
"""Least values where 0 would not do: a cell takes up to 16 bytes, a pack two commits, joining two segments; the rest
are divisors."""

MOST_PACK_COMMITS = 1 << 20
"""Most commits that a pack may hold by the format."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, unless the name says rows, chunks or commits.

    Each is an integer of at least 0. Raises `InvalidTypeError` (TypeError) for a size that is no integer and
    `InvalidValueError` (ValueError) for one that is too small or that makes chunks too large for a block.
    """

    # Blocks
    own_block: int = 64 << 10
    """A chunk of this many bytes or more has blocks of its own."""
    shared_block: int = 128 << 10
    """Smaller chunks that begin in the same range of this many bytes share a block."""
    cut_over: int = 128 << 10
    """A chunk of more bytes is cut into blocks. Set by the format, so that a store refuses any other value."""
    cut_into: int = 64 << 10
    """Bytes of these blocks. Set by the format, like `cut_over`."""

    # Writing
    digested_bytes: int = 256
    """Chunks of coordinates of this many bytes have a digest, of 16 bytes, to be found from other segments."""
    raw_bytes: int = 32 << 20
    """Chunks that wait in memory before they are encoded."""
    encoded_bytes: int = 8 << 20
    """Encoded blocks that wait in memory before they are spilled, which a flush would have to write and sync."""
    checked_bytes: int = 1 << 20
    """Chunks that are staged between two checks of the bounds above."""
    direct_bytes: int = 1 << 20
    """Whole chunks of one write that are encoded before it returns, neither copied nor kept."""
    run_bytes: int = 4 << 20
    """Chunks of a run, which one thread encodes."""
    partial_bytes: int = 16 << 20
    """Partly covered chunks whose present cells are read at a time."""
    task_bytes: int = 4 << 20
    """Raw bytes that one thread encodes at a time."""
    large_bytes: int = 16 << 20
    """Large chunks that are encoded before their blocks are handed on."""
    parallel_bytes: int = 32 << 20
    """Runs that are encoded side by side: they are written while the next are encoded."""

    # Reading
    lookup_chunks: int = 1 << 17
    """Chunks that are looked up at a time; each takes some 100 bytes."""
    batch_bytes: int = 2 << 20
    """Stored bytes of a read batch, a last block aside: enough to hide its Python, few enough to stay in the cache."""
    thread_bytes: int = 128 << 10
    """Stored bytes below which splitting a read further is not worth a thread."""
    buffer_bytes: int = 64 << 20
    """Bytes that a thread reads at once, past which a read goes through fewer gaps."""
    index_bytes: int = 64 << 20
    """Cells that a stepped index reads at a time, with those that it leaves out."""

    # Commits
    page_rows: int = 4096
    """Rows that a commit or checkpoint holds itself; more move to a page, which neither repeats."""
    small_checkpoint: int = 64 << 10
    """A checkpoint of at most so many bytes is rewritten after few commits, a larger one after many."""
    few_commits: int = 8
    """Commits after which a small checkpoint is rewritten."""
    many_commits: int = 32
    """Commits after which a large checkpoint is rewritten."""
    pack_commits: int = 256
    """Commits of the past that one file holds. A store keeps the number that it was created with."""

    # Maintenance
    joined_at_once: int = 4
    """Segments alike in size that a flush joins to one."""
    smallest_tier: int = 4 << 10
    """Segments of at most so many bytes are alike in size."""
    largest_joined: int = 4 << 20
    """Bytes of segments that a flush joins at most: a larger one takes longer to read than to find."""
    copied_bytes: int = 16 << 20
    """Chunks that a compaction decodes at a time."""
    waiting_bytes: int = 32 << 20
    """Chunks, and encoded blocks, that wait in a compaction before they are encoded, and spilled."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise InvalidTypeError(f"{field.name} is {value!r}; pass an integer, such as {field.default!r}")
            least = _LEAST.get(field.name, 0)
            if value < least:
                raise InvalidValueError(f"{field.name} is {value}; pass at least {least}, such as {field.default!r}")
        if self.pack_commits > MOST_PACK_COMMITS:
            raise InvalidValueError(f"pack_commits is {self.pack_commits}; pass at most {MOST_PACK_COMMITS}")
        if self.own_block > self.cut_over:
            raise InvalidValueError(
                f"own_block is {self.own_block}; pass at most cut_over, {self.cut_over}, beyond which a chunk is cut"
            )


DEFAULT = Limits()
"""What a handle takes where it is given none."""


def limits_or_default(limits: Limits | None) -> Limits:
    """Return `limits`, or the default for None.

    Raises `InvalidTypeError` for anything else and `InvalidValueError` for blocks that the format does not have.
    """
    if limits is None:
        return DEFAULT
    if not isinstance(limits, Limits):
        raise InvalidTypeError(
            f"limits is {limits!r}; pass an atlas.Limits, such as Limits(batch_bytes=1 << 20), or None"
        )
    if (limits.cut_over, limits.cut_into) != (DEFAULT.cut_over, DEFAULT.cut_into):
        raise InvalidValueError(
            f"cut_over and cut_into are {limits.cut_over} and {limits.cut_into}; the format sets them to"
            f" {DEFAULT.cut_over} and {DEFAULT.cut_into}: leave them out"
        )
    return limits
