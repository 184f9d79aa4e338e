"""Rows of datasets in columns, as documents hold them: ids, names, layouts and attributes.

A row refers to its layout, keys and values by position, so each distinct one is written once. Values to JSON and back;
`changes` puts rows into documents. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atlas.errors import CorruptStoreError
from atlas.format.attribute_keys import array_keys, flatten_key, key_places, shown_keys
from atlas.format.names import check_each, check_name
from atlas.format.schema import ArraySchema, schema_from_json, schema_to_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey

__all__ = [
    "EMPTY_ROWS",
    "ArrayEntry",
    "AttributeTable",
    "Layout",
    "RowBatch",
    "check_ascending",
    "check_int",
    "check_list",
    "check_object",
    "ints_from_json",
    "rows_from_json",
    "rows_to_json",
]

_T = TypeVar("_T")

_LARGEST = 2**63 - 1
_ARRAY_ATTRIBUTES, _ARRAY_ATTRIBUTE_TABLE = "array_attributes", "array_attribute_table"
"""Fields that a document leaves out where no dataset has attributes of arrays."""


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """One array of a dataset."""

    name: str
    """Array name."""
    schema: ArraySchema
    """Its schema."""
    generation: int
    """Number of its declaration: 0 where one flush created the dataset and declared the array, else random. An array
    that is deleted and declared again gets another generation, so that it never shows chunks of the first."""

    def __hash__(self) -> int:
        """Return a hash that no forged store can choose: Python seeds the hashes of text, but not those of integers."""
        return hash((self.name, self.schema, str(self.generation)))


Layout = tuple[ArrayEntry, ...]
"""The arrays of a dataset in their order; equal datasets share one."""


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """Attributes of many datasets. Each distinct list of keys, value and set of attributes is kept once.

    A dataset has two sets of one list of keys: attributes of its own, and those that may be of an array.
    """

    keysets: list[tuple[AttributeKey, ...]]
    """Lists of all keys of a dataset, in the order they were set."""
    values: list[Any]
    """Values as JSON has them (`attributes.encode_value`)."""
    sets: list[list[int]]
    """The distinct sets of own attributes: the position of a list of keys, then for each of its `own_keys` the position
    of the value."""
    array_sets: list[list[int]]
    """The distinct sets of the others, likewise: values for `array_keys`."""

    def encoded(self, own: int, of_arrays: int) -> dict[AttributeKey, Any]:
        """Return the sets at `own` in `sets` and at `of_arrays` in `array_sets` as all keys and encoded values."""
        keys, at = self.keysets[self.sets[own][0]], self._row(own, of_arrays)
        return {key: self.values[at[place]] for key, place in zip(keys, key_places(keys), strict=True)}

    def shown(self, own: int, of_arrays: int, show: Callable[[Any], _T]) -> dict[str, _T]:
        """Return the same without the hidden ones, by the text of each key; `show` is called with each value."""
        at, values = self._row(own, of_arrays), self.values
        return {text: show(values[at[place]]) for text, place in shown_keys(self.keysets[at[0]])}

    def _row(self, own: int, of_arrays: int) -> list[int]:
        """Return the position of the list of keys, and then those of all values: see `key_places`."""
        others = self.array_sets[of_arrays]
        return self.sets[own] if len(others) == 1 else self.sets[own] + others[1:]

    def resolve(self, found: list[int]) -> tuple[tuple[AttributeKey, ...], list[Any]]:
        """Return the list of keys that one of the sets names, and the encoded values that the set has."""
        return self.keysets[found[0]], [self.values[value] for value in found[1:]]

    @classmethod
    def joined(cls, first: AttributeTable, second: AttributeTable) -> AttributeTable:
        """Return one table with the sets of both, those of `second` after those of `first`."""
        more = len(first.keysets), len(first.values)
        return cls(
            first.keysets + second.keysets,
            first.values + second.values,
            first.sets + _moved(second.sets, *more),
            first.array_sets + _moved(second.array_sets, *more),
        )


def _moved(sets: list[list[int]], keysets: int, values: int) -> list[list[int]]:
    """Return attribute sets for tables with that many more lists of keys and values at the beginning."""
    return [[row[0] + keysets, *(value + values for value in row[1:])] for row in sets]


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of datasets by ascending id, in columns."""

    ids: NDArray[np.int64]
    """Ids, ascending."""
    names: list[str]
    """Names."""
    layouts: NDArray[np.int64]
    """Index into `layout_table`."""
    attributes: NDArray[np.int64]
    """Index into `attribute_table.sets`."""
    array_attributes: NDArray[np.int64]
    """Index into `attribute_table.array_sets`."""
    layout_table: list[Layout]
    """The distinct layouts."""
    attribute_table: AttributeTable
    """The distinct attribute sets."""

    def __len__(self) -> int:
        """Return the number of datasets."""
        return len(self.names)

    def encoded_attributes(self, row: int) -> dict[AttributeKey, Any]:
        """Return the attributes of the dataset at `row` as encoded values, in the order they were set."""
        return self.attribute_table.encoded(int(self.attributes[row]), int(self.array_attributes[row]))

    def picked(self, mask: NDArray[np.bool_]) -> RowBatch:
        """Return the rows that the mask picks, with the same tables."""
        if mask.all():
            return self
        return RowBatch(
            self.ids[mask],
            [name for name, picked in zip(self.names, mask.tolist(), strict=True) if picked],
            self.layouts[mask],
            self.attributes[mask],
            self.array_attributes[mask],
            self.layout_table,
            self.attribute_table,
        )

    @classmethod
    def joined(cls, first: RowBatch, second: RowBatch) -> RowBatch:
        """Return the rows of both; all ids of `first` must be below those of `second`."""
        if not len(first) or not len(second):
            return second if not len(first) else first
        one, two = first.attribute_table, second.attribute_table
        return cls(
            np.concatenate([first.ids, second.ids]),
            first.names + second.names,
            np.concatenate([first.layouts, second.layouts + len(first.layout_table)]),
            np.concatenate([first.attributes, second.attributes + len(one.sets)]),
            np.concatenate([first.array_attributes, second.array_attributes + len(one.array_sets)]),
            first.layout_table + second.layout_table,
            AttributeTable.joined(one, two),
        )


_NOTHING = np.empty(0, np.int64)
EMPTY_ROWS = RowBatch(_NOTHING, [], _NOTHING, _NOTHING, _NOTHING, [], AttributeTable([], [], [], []))


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


def check_int(value: object, what: str, most: int = _LARGEST) -> int:
    """Return a whole number from 0 to `most`, or raise `CorruptStoreError`; `what` names it."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise CorruptStoreError(f"{what} is {value!r}, not a whole number from 0 to {most}")
    return value


def _int_array(document: object, what: str) -> NDArray[np.int64]:
    if not isinstance(document, list) or not set(map(type, document)) <= {int}:
        raise CorruptStoreError(f"{what} is not a list of whole numbers")
    try:
        return np.array(document, np.int64)
    except OverflowError:
        raise CorruptStoreError(f"{what} holds numbers past 64 bits") from None


def ints_from_json(document: object, what: str, count: int, below: int) -> NDArray[np.int64]:
    """Return a column of `count` numbers from 0 to `below` - 1, or raise `CorruptStoreError`; `what` names it."""
    if isinstance(document, dict) and "runs" in document:
        pairs = _int_array(document["runs"], what)
        values, counts = pairs[::2], pairs[1::2]
        # Each count is bounded before they are summed, so that the sum cannot wrap.
        if len(values) != len(counts) or (counts < 0).any() or (counts > count).any() or int(counts.sum()) != count:
            raise CorruptStoreError(f"{what} does not hold {count} values")
        result = np.repeat(values, counts)
    elif isinstance(document, dict):
        start = check_int(document.get("start"), what)
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


def check_ascending(values: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """Return `values` if they ascend strictly, or raise `CorruptStoreError`."""
    if (values[1:] <= values[:-1]).any():
        raise CorruptStoreError(f"{what} is not ascending")
    return values


# Rows


def rows_to_json(rows: RowBatch) -> dict[str, Any]:
    """Return the field `rows` of a document."""
    schemas: dict[ArraySchema, int] = {}
    schema_documents = []
    layouts = []
    for layout in rows.layout_table:
        entries = []
        for entry in layout:
            if entry.schema not in schemas:
                schemas[entry.schema] = len(schemas)
                schema_documents.append(schema_to_json(entry.schema))
            entries.append([entry.name, schemas[entry.schema], entry.generation])
        layouts.append(entries)
    table = rows.attribute_table
    fields = {
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
    if any(map(array_keys, table.keysets)):
        fields[_ARRAY_ATTRIBUTES] = _ints_to_json(rows.array_attributes)
        fields[_ARRAY_ATTRIBUTE_TABLE] = table.array_sets
    return fields


def check_list(document: dict[str, Any], name: str) -> list[Any]:
    """Return the field `name` if it is a list, or raise `CorruptStoreError`."""
    value = document.get(name)
    if not isinstance(value, list):
        raise CorruptStoreError(f"its field {name!r} is not a list")
    return value


def check_object(value: object, what: str) -> dict[str, Any]:
    """Return `value` if it is an object, or raise `CorruptStoreError`; `what` names it."""
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
    schemas = [schema_from_json(schema) for schema in check_list(document, "schema_table")]
    layouts = []
    for entries in check_list(document, "layout_table"):
        layout = []
        if not isinstance(entries, list):
            raise CorruptStoreError("a layout is not a list")
        for entry in entries:
            if not isinstance(entry, list) or len(entry) != 3:
                raise CorruptStoreError(f"a layout holds {entry!r} instead of [name, schema, generation]")
            name = check_name("array", entry[0])
            schema = schemas[check_int(entry[1], "a schema number", len(schemas) - 1)]
            layout.append(ArrayEntry(name, schema, check_int(entry[2], "a generation")))
        if len({entry.name for entry in layout}) != len(layout):
            raise CorruptStoreError("a layout names an array twice")
        layouts.append(tuple(layout))
    return layouts


def _sets_from_json(
    document: dict[str, Any], name: str, key_counts: NDArray[np.int64], values: int
) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Return a table of attribute sets and the list of keys that each names.

    `key_counts` are the values that a set of each list of keys has, and `values` is the length of their table.
    """
    # All rows at once: a loop over a million of them would take longer than reading the document.
    sets = check_list(document, name)
    if not set(map(type, sets)) <= {list} or not all(sets):
        raise CorruptStoreError(f"its field {name!r} holds something else than lists that name their keys")
    numbers = _int_array(list(chain.from_iterable(sets)), f"an attribute set of its field {name!r}")
    lengths = np.fromiter(map(len, sets), np.int64, len(sets))
    first = np.cumsum(lengths) - lengths
    keysets = numbers[first]
    fits = (keysets >= 0) & (keysets < len(key_counts))
    fits[fits] = lengths[fits] == key_counts[keysets[fits]] + 1
    if not fits.all():
        raise CorruptStoreError(f"the attribute set {sets[int(np.argmin(fits))]!r} of {name!r} does not fit its keys")
    outside = (numbers < 0) | (numbers >= values)
    outside[first] = False
    if outside.any():
        at = int(np.searchsorted(first, np.argmax(outside), side="right")) - 1
        raise CorruptStoreError(f"the attribute set {sets[at]!r} of {name!r} names values outside its table")
    return sets, keysets


def _attributes_from_json(
    document: dict[str, Any], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], AttributeTable]:
    """Return for each of `count` datasets the position of its own attributes and of the others, and their table."""
    keysets = [tuple(_attribute_key(key) for key in keys) for keys in check_list(document, "keyset_table")]
    if any(len(set(map(flatten_key, keys))) != len(keys) for keys in keysets):
        raise CorruptStoreError("an attribute set has two keys that are shown alike")
    values = check_list(document, "value_table")
    all_keys = np.array([len(keys) for keys in keysets], np.int64)
    others = np.array([len(array_keys(keys)) for keys in keysets], np.int64)
    sets, keyset_of = _sets_from_json(document, "attribute_table", all_keys - others, len(values))
    own = ints_from_json(document.get("attributes"), "the column of attributes", count, len(sets))
    if not others.any() and document.keys().isdisjoint({_ARRAY_ATTRIBUTES, _ARRAY_ATTRIBUTE_TABLE}):
        return own, keyset_of[own], AttributeTable(keysets, values, sets, [[at] for at in range(len(keysets))])
    array_sets, array_keyset_of = _sets_from_json(document, _ARRAY_ATTRIBUTE_TABLE, others, len(values))
    what = "the column of attributes of arrays"
    of_arrays = ints_from_json(document.get(_ARRAY_ATTRIBUTES), what, count, len(array_sets))
    differ = keyset_of[own] != array_keyset_of[of_arrays]
    if differ.any():
        at = int(np.argmax(differ))
        raise CorruptStoreError(
            f"the attribute sets {sets[own[at]]!r} and {array_sets[of_arrays[at]]!r} of one dataset name different keys"
        )
    return own, of_arrays, AttributeTable(keysets, values, sets, array_sets)


def rows_from_json(document: object, below_id: int) -> RowBatch:
    """Return the rows of a document, or raise an `AtlasError` also where an id is not below `below_id`."""
    fields = check_object(document, "its field 'rows'")
    names = check_list(fields, "names")
    check_each("dataset", names)
    ids = check_ascending(
        ints_from_json(fields.get("ids"), "the column of ids", len(names), below_id), "the column of ids"
    )
    layouts = _layouts_from_json(fields)
    layout_of = ints_from_json(fields.get("layouts"), "the column of layouts", len(names), len(layouts))
    own, of_arrays, table = _attributes_from_json(fields, len(names))
    return RowBatch(ids, names, layout_of, own, of_arrays, layouts, table)
