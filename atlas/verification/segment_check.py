"""Checks the segments of one array: each file's size, header, footer and index, then the blocks and chunks in it.

Damage is noted and never raised: a file that is missing, short or unreadable is damage too. It is named by dataset and
chunk where the index can be read; where it cannot, by every dataset that may have chunks in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.catalog.chunk_index import ChunkIndex, load_segment, merge_rows
from atlas.errors import AtlasError, CorruptStoreError
from atlas.format.segment import FOOTER_SIZE, HEADER, decode_footer
from atlas.runtime.threads import run_all
from atlas.verification.chunk_check import ChunkCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.chunk_index import Source
    from atlas.format.segment import ChunkRows, SegmentRef
    from atlas.storage import Storage
    from atlas.verification.findings import Findings

__all__ = ["check_array"]

_MISSING = "it is missing"


class _OpenedSegment(NamedTuple):
    """A segment whose file was looked at."""

    ref: SegmentRef
    """The segment."""
    faults: list[str]
    """What is wrong with the file, its header and its footer."""
    part: tuple[Source, ChunkRows] | None
    """Its blocks and rows, None where the index cannot be read."""
    lost: str
    """Why the index cannot be read, else empty."""


def check_array(storage: Storage, catalog: Catalog, array: str, refs: Sequence[SegmentRef], findings: Findings) -> None:
    """Read the segments `refs` of an array, oldest first, and note what is damaged."""
    opened = run_all(lambda ref: _open_segment(storage, ref), refs)
    for segment in opened:
        findings.files += 1
        for fault in segment.faults:
            findings.add(segment.ref.key, fault, array=array)
        tail = segment.ref.size - segment.ref.footer.index_offset
        findings.advance(len(HEADER) + tail if segment.part is not None else segment.ref.size)
    lost: dict[str, ChunkRows] = {}
    table = ChunkIndex.of([one.part for one in opened if one.part is not None], lost=lost)
    check = ChunkCheck(catalog, array, table, findings)
    check.run()
    for key, rows in lost.items():
        check.note_lost_chunks(key, rows)
    for at, segment in enumerate(opened):
        if segment.part is not None:
            continue
        findings.lost.add(segment.ref.key)
        if segment.lost == _MISSING:
            findings.missing.add(segment.ref.key)
        # Their own rows: a chunk that they share, or that is shared with them, may lie in any other segment.
        newer = [one.part[1] for one in opened[at + 1 :] if one.part is not None]
        rows, _ = merge_rows(newer, [np.zeros(len(own), np.int64) for own in newer])
        check.note_lost_segment(segment.ref.key, segment.lost, rows)


def _open_segment(storage: Storage, ref: SegmentRef) -> _OpenedSegment:
    """Compare the file of a segment with what the commit says of it, and read its index."""
    faults = []
    size = ref.size
    try:
        size = storage.size(ref.key)
        if size != ref.size:
            faults.append(f"it has {size:,} bytes, not the {ref.size:,} that the commit says")
        if storage.read_range(ref.key, 0, len(HEADER)) != HEADER:
            faults.append("its header is damaged; its data can still be read")
        footer = decode_footer(storage.read_range(ref.key, ref.size - FOOTER_SIZE, FOOTER_SIZE), ref.size)
        if footer != ref.footer:
            faults.append("its footer is not the one that the commit says")
    except FileNotFoundError:
        return _OpenedSegment(ref, [], None, _MISSING)
    except CorruptStoreError as error:
        if not faults:  # a file that is short has no footer
            faults.append(f"its footer is damaged ({error}); its data can still be read")
    except AtlasError as error:
        faults.append(f"it cannot be read: {error}")
    try:
        return _OpenedSegment(ref, faults, load_segment(storage, ref), "")
    except AtlasError as error:
        cause = error.__cause__ or error
        reason = _MISSING if isinstance(cause, FileNotFoundError) else f"its index cannot be read ({cause})"
        if size < ref.footer.index_offset + ref.footer.index_length:
            reason = "its index is cut off"
        return _OpenedSegment(ref, faults, None, reason)
