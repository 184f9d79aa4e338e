"""The registry in documents: which datasets there are, with which arrays and attributes, and in which segments.

Three kinds of document share one body. A *commit* says what one flush changed, a *checkpoint* is the sum of all
commits up to a version, a *page* holds the rows of a large batch so that neither has to repeat them. Bytes to values
only; `documents` packs them, `engine.catalog` adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import AtlasError, CorruptStoreError, UnsupportedFormatError
from atlas.format.names import check_each, check_name
from atlas.format.schema import ArraySchema, schema_from_json, schema_to_json
from atlas.format.segment import FORMAT_VERSION, Footer, SegmentRef, check_footer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey

__all__ = [
    "ArrayEntry",
    "AttributeTable",
    "Changes",
    "PageRef",
    "RowBatch",
    "changes_from_json",
    "changes_to_json",
    "check_format",
    "page_from_json",
    "page_to_json",
]

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """One array of a dataset."""

    name: str
    """Array name."""
    schema: ArraySchema
    """Its declaration."""
    generation: int
    """0 for an array declared together with its dataset, else the version its writer had before it. An array that
    was deleted and declared again has another generation, so that chunks of the first never show in the second."""


Layout = tuple[ArrayEntry, ...]
"""The arrays of a dataset in their order; datasets that look alike share one."""


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """Attributes of many datasets, each key list and each value kept once."""

    keysets: list[tuple[AttributeKey, ...]]
    """Lists of keys, in the order they were set."""
    values: list[Any]
    """Values as JSON has them (`attributes.encode_value`)."""
    sets: list[list[int]]
    """One a distinct set: the keyset's index, then the index of each key's value."""

    def encoded(self, index: int) -> dict[AttributeKey, Any]:
        """Return the set `index` as keys and encoded values."""
        keyset, *values = self.sets[index]
        return {key: self.values[value] for key, value in zip(self.keysets[keyset], values, strict=True)}


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Datasets in the order of their ids, in columns."""

    ids: NDArray[np.int64]
    """Ids, ascending."""
    names: list[str]
    """Names."""
    layouts: NDArray[np.int64]
    """Index into `layout_table`."""
    attributes: NDArray[np.int64]
    """Index into `attribute_table.sets`."""
    layout_table: list[Layout]
    """The distinct layouts."""
    attribute_table: AttributeTable
    """The distinct attribute sets."""

    def __len__(self) -> int:
        """Return the number of datasets."""
        return len(self.names)

    @classmethod
    def joined(cls, first: RowBatch, second: RowBatch) -> RowBatch:
        """Return the rows of both, of which `first` has the lower ids."""
        if not len(first) or not len(second):
            return second if not len(first) else first
        one, two = first.attribute_table, second.attribute_table
        sets = [[row[0] + len(one.keysets), *(value + len(one.values) for value in row[1:])] for row in two.sets]
        return cls(
            np.concatenate([first.ids, second.ids]),
            first.names + second.names,
            np.concatenate([first.layouts, second.layouts + len(first.layout_table)]),
            np.concatenate([first.attributes, second.attributes + len(one.sets)]),
            first.layout_table + second.layout_table,
            AttributeTable(one.keysets + two.keysets, one.values + two.values, one.sets + sets),
        )


EMPTY_ROWS = RowBatch(
    np.empty(0, np.int64), [], np.empty(0, np.int64), np.empty(0, np.int64), [], AttributeTable([], [], [])
)


@dataclass(frozen=True, slots=True)
class PageRef:
    """A page as commits and checkpoints name it."""

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
    """The body of a commit or a checkpoint: applied in the order of the fields."""

    version: int
    """Version of the store after it."""
    next_id: int
    """Id that the next new dataset gets."""
    pages: tuple[PageRef, ...] = ()
    """Rows added in pages."""
    deleted: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Ids of datasets that are gone, ascending."""
    rows: RowBatch = EMPTY_ROWS
    """Rows added, or replaced where their id is known already."""
    dropped: tuple[str, ...] = ()
    """Keys of segments that others replace."""
    segments: tuple[SegmentRef, ...] = ()
    """Segments added, oldest first."""


# Columns of integers


def _ints_to_json(values: NDArray[np.int64]) -> Any:
    """Return a list, or {"runs": [value, count, …]} or {"start": …, "count": …} where that is shorter."""
    if len(values) > 4:
        steps = np.diff(values)
        if (steps == 1).all():
            return {"start": int(values[0]), "count": len(values)}
        begins = np.concatenate([[0], np.flatnonzero(steps) + 1])
        if 2 * len(begins) < len(values):
            counts = np.diff(np.append(begins, len(values)))
            return {"runs": np.column_stack([values[begins], counts]).ravel().tolist()}
    return values.tolist()


def _int(value: object, what: str, most: int = _LARGEST) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise CorruptStoreError(f"{what} is {value!r}, not a whole number from 0 to {most}")
    return value


def _int_array(document: object, what: str) -> NDArray[np.int64]:
    if not isinstance(document, list) or any(type(value) is not int for value in document):
        raise CorruptStoreError(f"{what} is not a list of whole numbers")
    try:
        return np.array(document, np.int64)
    except OverflowError:
        raise CorruptStoreError(f"{what} holds numbers past 64 bits") from None


def _ints_from_json(document: object, what: str, count: int, below: int) -> NDArray[np.int64]:
    if isinstance(document, dict) and "runs" in document:
        pairs = _int_array(document["runs"], what)
        values, counts = pairs[::2], pairs[1::2]
        # Each count is bounded before they are summed, so that the sum cannot wrap.
        if len(values) != len(counts) or (counts < 0).any() or (counts > count).any() or int(counts.sum()) != count:
            raise CorruptStoreError(f"{what} does not hold {count} values")
        result = np.repeat(values, counts)
    elif isinstance(document, dict):
        start = _int(document.get("start"), what)
        if document.get("count") != count:
            raise CorruptStoreError(f"{what} does not hold {count} values")
        if start > _LARGEST - count:
            raise CorruptStoreError(f"{what} runs past 2**63-1")
        result = np.arange(start, start + count, dtype=np.int64)
    else:
        result = _int_array(document, what)
    if len(result) != count:
        raise CorruptStoreError(f"{what} holds {len(result)} values instead of {count}")
    if len(result) and (int(result.min()) < 0 or int(result.max()) >= below):
        raise CorruptStoreError(f"{what} holds values outside 0 to {below - 1}")
    return result


def _ascending(values: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    if (values[1:] <= values[:-1]).any():
        raise CorruptStoreError(f"{what} is not ascending")
    return values


# Rows


def _rows_to_json(rows: RowBatch) -> dict[str, Any]:
    schemas: dict[tuple[object, ...], int] = {}
    schema_documents = []
    layouts = []
    for layout in rows.layout_table:
        entries = []
        for entry in layout:
            if entry.schema.key not in schemas:
                schemas[entry.schema.key] = len(schemas)
                schema_documents.append(schema_to_json(entry.schema))
            entries.append([entry.name, schemas[entry.schema.key], entry.generation])
        layouts.append(entries)
    table = rows.attribute_table
    return {
        "ids": _ints_to_json(rows.ids),
        "names": rows.names,
        "layouts": _ints_to_json(rows.layouts),
        "attributes": _ints_to_json(rows.attributes),
        "schema_table": schema_documents,
        "layout_table": layouts,
        "keyset_table": [[key if isinstance(key, str) else list(key) for key in keys] for keys in table.keysets],
        "value_table": table.values,
        "attribute_table": table.sets,
    }


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise CorruptStoreError(f"its field {name!r} is not a list")
    return value


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorruptStoreError(f"{what} is not an object")
    return value


def _attribute_key(document: object) -> AttributeKey:
    if isinstance(document, str):
        return document
    if isinstance(document, list) and 1 <= len(document) <= 2 and all(isinstance(part, str) for part in document):
        return tuple(document)
    raise CorruptStoreError(f"{document!r} is not an attribute key")


def _layouts_from_json(document: dict[str, Any]) -> list[Layout]:
    schemas = [schema_from_json(schema) for schema in _list(document, "schema_table")]
    layouts = []
    for entries in _list(document, "layout_table"):
        layout = []
        if not isinstance(entries, list):
            raise CorruptStoreError("a layout is not a list")
        for entry in entries:
            if not isinstance(entry, list) or len(entry) != 3:
                raise CorruptStoreError(f"a layout holds {entry!r} instead of [name, schema, generation]")
            name = check_name("array", entry[0])
            schema = schemas[_int(entry[1], "a schema number", len(schemas) - 1)]
            layout.append(ArrayEntry(name, schema, _int(entry[2], "a generation")))
        if len({entry.name for entry in layout}) != len(layout):
            raise CorruptStoreError("a layout names an array twice")
        layouts.append(tuple(layout))
    return layouts


def _attributes_from_json(document: dict[str, Any]) -> AttributeTable:
    keysets = [tuple(_attribute_key(key) for key in keys) for keys in _list(document, "keyset_table")]
    values = _list(document, "value_table")
    sets = _list(document, "attribute_table")
    for row in sets:
        if not isinstance(row, list) or not row or any(type(value) is not int for value in row):
            raise CorruptStoreError(f"an attribute set is {row!r}")
        if not 0 <= row[0] < len(keysets) or len(row) != len(keysets[row[0]]) + 1:
            raise CorruptStoreError(f"the attribute set {row!r} does not fit its keys")
        if len(row) > 1 and not (min(row[1:]) >= 0 and max(row[1:]) < len(values)):
            raise CorruptStoreError(f"the attribute set {row!r} names values that are not there")
    return AttributeTable(keysets, values, sets)


def _rows_from_json(document: object, below_id: int) -> RowBatch:
    fields = _object(document, "its field 'rows'")
    names = _list(fields, "names")
    check_each("dataset", names)
    ids = _ascending(_ints_from_json(fields.get("ids"), "the column of ids", len(names), below_id), "the column of ids")
    layouts = _layouts_from_json(fields)
    table = _attributes_from_json(fields)
    return RowBatch(
        ids,
        names,
        _ints_from_json(fields.get("layouts"), "the column of layouts", len(names), len(layouts)),
        _ints_from_json(fields.get("attributes"), "the column of attributes", len(names), len(table.sets)),
        layouts,
        table,
    )


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
    fields = _object(document, "a segment")
    array = check_name("array", fields.get("array"))
    key = check_key(fields.get("key"), "arrays")
    size = _int(fields.get("size"), "a segment's size")
    index = _list(fields, "index")
    shift = fields.get("shift", [0, 0])
    if len(index) != 2 or not isinstance(shift, list) or len(shift) != 2:
        raise CorruptStoreError(f"segment {key} has the index {index!r} and the shift {shift!r}")
    footer = Footer(
        _int(index[0], "an index offset"),
        _int(index[1], "an index length"),
        int(str(fields.get("index_xxh3")), 16),
        _int(fields.get("chunks"), "a number of chunks"),
        _int(fields.get("blocks"), "a number of blocks"),
    )
    check_footer(footer, size)
    return SegmentRef(array, key, size, footer, _int(shift[0], "a shift"), _int(shift[1], "a shift"))


# Documents


def check_format(document: dict[str, Any], kind: str) -> None:
    """Raise unless `document` is a `kind` ("commit", "checkpoint", "page") of a format that this release reads."""
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"the store has format version {version}; this release reads up to {FORMAT_VERSION}: "
            "use a newer atlas-store"
        )
    if document.get("atlas") != kind or version != FORMAT_VERSION:
        raise CorruptStoreError(f"it is not a {kind} of format version {FORMAT_VERSION}")


def changes_to_json(kind: str, changes: Changes, **extra: object) -> dict[str, Any]:
    """Return the document of a commit or checkpoint; `extra` fields (codec, writer, time) come right after the head."""
    document: dict[str, Any] = {"atlas": kind, "format": FORMAT_VERSION, "version": changes.version, **extra}
    document["next_id"] = changes.next_id
    document["pages"] = [{"key": p.key, "rows": p.rows, "first": p.first, "last": p.last} for p in changes.pages]
    document["deleted"] = changes.deleted.tolist()
    document["rows"] = _rows_to_json(changes.rows)
    document["dropped"] = list(changes.dropped)
    document["segments"] = [_segment_to_json(segment) for segment in changes.segments]
    return document


def _page_refs(documents: Iterable[object]) -> tuple[PageRef, ...]:
    pages = []
    for document in documents:
        fields = _object(document, "a page reference")
        numbers = [_int(fields.get(name), f"a page's {name}") for name in ("rows", "first", "last")]
        pages.append(PageRef(check_key(fields.get("key"), "registry"), *numbers))
    return tuple(pages)


def changes_from_json(kind: str, document: dict[str, Any]) -> Changes:
    """Return the changes that `document` describes, or raise `CorruptStoreError` or `UnsupportedFormatError`."""
    check_format(document, kind)
    try:
        next_id = _int(document.get("next_id"), "next_id")
        deleted = _list(document, "deleted")
        return Changes(
            _int(document.get("version"), "version"),
            next_id,
            _page_refs(_list(document, "pages")),
            _ascending(
                _ints_from_json(deleted, "the list of deleted ids", len(deleted), next_id), "the list of deleted ids"
            ),
            _rows_from_json(document.get("rows"), next_id),
            tuple(check_key(key, "arrays") for key in _list(document, "dropped")),
            tuple(_segment_from_json(segment) for segment in _list(document, "segments")),
        )
    except (AtlasError, ValueError, TypeError) as error:
        if isinstance(error, CorruptStoreError):
            raise
        raise CorruptStoreError(str(error)) from error


def page_to_json(rows: RowBatch) -> dict[str, Any]:
    """Return the document of a page."""
    return {"atlas": "page", "format": FORMAT_VERSION, "rows": _rows_to_json(rows)}


def page_from_json(document: dict[str, Any], page: PageRef) -> RowBatch:
    """Return the rows of a page, or raise `CorruptStoreError` where it is not the one that `page` names."""
    check_format(document, "page")
    try:
        rows = _rows_from_json(document.get("rows"), page.last + 1)
    except (AtlasError, ValueError, TypeError) as error:
        if isinstance(error, CorruptStoreError):
            raise
        raise CorruptStoreError(str(error)) from error
    if len(rows) != page.rows or not len(rows) or int(rows.ids[0]) != page.first or int(rows.ids[-1]) != page.last:
        raise CorruptStoreError(f"it does not hold the {page.rows} datasets of ids {page.first} to {page.last}")
    return rows
