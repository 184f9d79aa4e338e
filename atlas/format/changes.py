"""The body of commits and checkpoints: datasets with their arrays and attributes, and the segments of their chunks.

A *commit* holds what one flush changed. A *checkpoint* holds the sum of all commits up to a version. A *page* holds the
rows of many datasets; commits and checkpoints name it instead of repeating them. Values to JSON and back, no I/O:
`documents` turns JSON into bytes, and `atlas.catalog` applies the changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import AtlasError, CorruptStoreError, UnsupportedFormatError
from atlas.format.dataset_columns import (
    EMPTY_ROWS,
    RowBatch,
    check_ascending,
    check_int,
    check_list,
    check_object,
    ints_from_json,
    rows_from_json,
    rows_to_json,
)
from atlas.format.features import check_features, features_of
from atlas.format.names import check_name
from atlas.format.segment import FORMAT_VERSION, Footer, SegmentRef, check_footer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

__all__ = [
    "Changes",
    "PageRef",
    "changes_from_json",
    "changes_to_json",
    "check_format",
    "page_from_json",
    "page_to_json",
]


@dataclass(frozen=True, slots=True)
class PageRef:
    """A page, as commits and checkpoints name it."""

    key: str
    """Key of the document."""
    rows: int
    """Datasets in it."""
    first: int
    """Id of the first."""
    last: int
    """Id of the last."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The body of a commit or checkpoint. `reset` is applied first, then the other fields in their order."""

    version: int
    """Version of the store after it."""
    next_id: int
    """Id that the next new dataset gets."""
    pages: tuple[PageRef, ...] = ()
    """Pages whose rows are added."""
    deleted: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Ids of the deleted datasets, ascending."""
    rows: RowBatch = EMPTY_ROWS
    """Rows of new datasets, and of changed ones, whose ids are known already."""
    dropped: tuple[str, ...] = ()
    """Keys of segments that are no longer part of the store."""
    segments: tuple[SegmentRef, ...] = ()
    """Segments added, oldest first."""
    writers: tuple[tuple[int, str], ...] = ()
    """Version and writer: of a commit its own, of a checkpoint those of the last commits, ascending."""
    reset: bool = False
    """Whether everything before this commit is forgotten first. Ids that were given are not given again."""
    tombstoned: tuple[str, ...] = ()
    """Keys of segments and pages that this commit tombstones: no later commit may name them."""
    replaced: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Ids of the datasets of `rows`, ascending, that have nothing of what they were: for writers that merge."""


# Segments


def _segment_to_json(segment: SegmentRef) -> dict[str, Any]:
    footer = segment.footer
    document: dict[str, Any] = {
        "array": segment.array,
        "key": segment.key,
        "size": segment.size,
        "index": [footer.index_offset, footer.index_length],
        "index_xxh3": f"{footer.index_checksum:016x}",
        "chunks": footer.chunks,
        "blocks": footer.blocks,
    }
    if segment.shift_by:
        document["shift"] = [segment.shift_from, segment.shift_by]
    if segment.rewritten:
        document["rewritten"] = True
    return document


def check_key(key: object, folder: str) -> str:
    """Return `key` if it is a plain relative key under `folder`, or raise `CorruptStoreError`."""
    if isinstance(key, str):
        parts = key.split("/")
        plain = all(part not in {"", ".", ".."} for part in parts) and "\\" not in key and "\0" not in key
        if plain and parts[0] == folder and len(parts) > 1:
            return key
    raise CorruptStoreError(f"{key!r} is not a key under {folder}/")


def _segment_from_json(document: object) -> SegmentRef:
    fields = check_object(document, "a segment")
    array = check_name("array", fields.get("array"))
    key = check_key(fields.get("key"), "arrays")
    size = check_int(fields.get("size"), "a segment's size")
    index = check_list(fields, "index")
    shift = fields.get("shift", [0, 0])
    if len(index) != 2 or not isinstance(shift, list) or len(shift) != 2:
        raise CorruptStoreError(f"segment {key} has the index {index!r} and the shift {shift!r}")
    footer = Footer(
        check_int(index[0], "an index offset"),
        check_int(index[1], "an index length"),
        int(str(fields.get("index_xxh3")), 16),
        check_int(fields.get("chunks"), "a number of chunks"),
        check_int(fields.get("blocks"), "a number of blocks"),
    )
    check_footer(footer, size)
    rewritten = fields.get("rewritten", False) is True
    return SegmentRef(
        array, key, size, footer, check_int(shift[0], "a shift"), check_int(shift[1], "a shift"), rewritten
    )


def _segments_from_json(documents: Iterable[object]) -> tuple[SegmentRef, ...]:
    segments = tuple(_segment_from_json(document) for document in documents)
    if len({segment.key for segment in segments}) != len(segments):
        raise CorruptStoreError("a segment is named twice")
    return segments


# Documents


def check_format(document: dict[str, Any], kind: str) -> None:
    """Raise unless a document is of the kind ("commit", "checkpoint", "page", "link") and can be read here.

    Raises `UnsupportedFormatError` for a later version and an unknown feature, else `CorruptStoreError`.
    """
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"the store has format version {version}; this release reads up to {FORMAT_VERSION}: "
            "use a newer atlas-store"
        )
    if document.get("atlas") != kind or version != FORMAT_VERSION:
        raise CorruptStoreError(f"it is not a {kind} of format version {FORMAT_VERSION}")
    check_features(document)


def changes_to_json(kind: str, changes: Changes, **extra: object) -> dict[str, Any]:
    """Return the document of a commit or checkpoint; `extra` fields (codec, time, action) follow the version."""
    document: dict[str, Any] = {"atlas": kind, "format": FORMAT_VERSION, "version": changes.version}
    if kind == "commit":
        document["writer"] = changes.writers[-1][1]
    document |= extra
    document["next_id"] = changes.next_id
    document["pages"] = [{"key": p.key, "rows": p.rows, "first": p.first, "last": p.last} for p in changes.pages]
    document["deleted"] = changes.deleted.tolist()
    document |= _rows_fields(changes.rows)
    document["dropped"] = list(changes.dropped)
    document["segments"] = [_segment_to_json(segment) for segment in changes.segments]
    if kind == "checkpoint":
        document["writers"] = [list(commit) for commit in changes.writers]
    if changes.reset:
        document["reset"] = True
    if changes.tombstoned:
        document["tombstoned"] = list(changes.tombstoned)
    if len(changes.replaced):
        document["replaced"] = changes.replaced.tolist()
    return document


def _rows_fields(rows: RowBatch) -> dict[str, Any]:
    document = rows_to_json(rows)
    features = features_of(schema["dtype"] for schema in document["schema_table"])
    return ({"features": features} if features else {}) | {"rows": document}


def _page_refs(documents: Iterable[object]) -> tuple[PageRef, ...]:
    pages = []
    for document in documents:
        fields = check_object(document, "a page reference")
        numbers = [check_int(fields.get(name), f"a page's {name}") for name in ("rows", "first", "last")]
        pages.append(PageRef(check_key(fields.get("key"), "pages"), *numbers))
        # Checked before any page is read: a page that is named a thousand times would be decoded a thousand times.
        if numbers[1] > numbers[2] or (len(pages) > 1 and numbers[1] <= pages[-2].last):
            raise CorruptStoreError(f"the ids of page {pages[-1].key} do not ascend")
    return tuple(pages)


def changes_from_json(kind: str, document: dict[str, Any]) -> Changes:
    """Return the changes that a document holds, or raise `CorruptStoreError` or `UnsupportedFormatError`."""
    check_format(document, kind)
    try:
        version = check_int(document.get("version"), "version")
        next_id = check_int(document.get("next_id"), "next_id")
        deleted = check_list(document, "deleted")
        tombstoned = document.get("tombstoned", [])
        rows = rows_from_json(document.get("rows"), next_id)
        return Changes(
            version,
            next_id,
            _page_refs(check_list(document, "pages")),
            check_ascending(
                ints_from_json(deleted, "the list of deleted ids", len(deleted), next_id), "the list of deleted ids"
            ),
            rows,
            tuple(check_key(key, "arrays") for key in check_list(document, "dropped")),
            _segments_from_json(check_list(document, "segments")),
            _writers(document) if kind == "checkpoint" else ((version, _text(document, "writer")),),
            document.get("reset", False) is True,
            tuple(_tombstoned(key) for key in (tombstoned if isinstance(tombstoned, list) else [None])),
            _replaced(document.get("replaced", []), rows, next_id),
        )
    except (AtlasError, ValueError, TypeError) as error:
        if isinstance(error, CorruptStoreError):
            raise
        raise CorruptStoreError(str(error)) from error


def _tombstoned(key: object) -> str:
    return check_key(key, "pages" if isinstance(key, str) and key.startswith("pages/") else "arrays")


def _replaced(value: object, rows: RowBatch, next_id: int) -> NDArray[np.int64]:
    if not isinstance(value, list):
        raise CorruptStoreError("its field 'replaced' is not a list of ids")
    ids = check_ascending(
        ints_from_json(value, "the list of replaced ids", len(value), next_id), "the list of replaced ids"
    )
    if not np.isin(ids, rows.ids).all():
        raise CorruptStoreError("it replaces a dataset of which it has no row")
    return ids


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise CorruptStoreError(f"its field {name!r} is not text")
    return value


def _writers(document: dict[str, Any]) -> tuple[tuple[int, str], ...]:
    writers = check_list(document, "writers")
    if not all(
        isinstance(commit, list) and len(commit) == 2 and type(commit[0]) is int and isinstance(commit[1], str)
        for commit in writers
    ):
        raise CorruptStoreError("its field 'writers' is not a list of versions and writers")
    return tuple((version, writer) for version, writer in writers)


def page_to_json(rows: RowBatch) -> dict[str, Any]:
    """Return the document of a page."""
    return {"atlas": "page", "format": FORMAT_VERSION} | _rows_fields(rows)


def page_from_json(document: dict[str, Any], page: PageRef) -> RowBatch:
    """Return the rows of a page, or raise `CorruptStoreError` where it is not the one that `page` names."""
    check_format(document, "page")
    try:
        rows = rows_from_json(document.get("rows"), page.last + 1)
    except (AtlasError, ValueError, TypeError) as error:
        if isinstance(error, CorruptStoreError):
            raise
        raise CorruptStoreError(str(error)) from error
    if len(rows) != page.rows or not len(rows) or int(rows.ids[0]) != page.first or int(rows.ids[-1]) != page.last:
        raise CorruptStoreError(f"it does not hold the {page.rows} datasets of ids {page.first} to {page.last}")
    return rows
