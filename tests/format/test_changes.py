from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog.column_builder import build_rows
from atlas.errors import AtlasError, CorruptStoreError, UnsupportedFormatError
from atlas.format.changes import Changes, PageRef, changes_from_json, changes_to_json, page_from_json, page_to_json
from atlas.format.dataset_columns import (
    EMPTY_ROWS,
    ArrayEntry,
    AttributeTable,
    RowBatch,
    _ints_to_json,
    ints_from_json,
    rows_from_json,
    rows_to_json,
)
from atlas.format.schema import make_schema
from atlas.format.segment import Footer, SegmentRef

SCHEMAS = [make_schema("float32", ["x"], [3], [2], float("nan")), make_schema("string", [], [], fill_value="Å")]
TABLE = AttributeTable(
    [(), ("a", ("t", "units"), ("b",))],
    [1, 1.5, {"$": "none"}, "K"],
    [[0], [1, 0, 2], [1, 1, 1]],
    [[1, 3], [0], [1, 1]],
)
LAYOUTS = [(), (ArrayEntry("t", SCHEMAS[0], 0), ArrayEntry("s", SCHEMAS[1], 7)), (ArrayEntry("t", SCHEMAS[0], 3),)]


def column(*values):
    return np.array(values, np.int64)


ROWS = RowBatch(column(2, 3, 9), ["a", "Å", "c d"], column(1, 1, 2), column(0, 2, 1), column(1, 2, 0), LAYOUTS, TABLE)
SEGMENT = SegmentRef("t", "arrays/t/ab.seg", 500, Footer(100, 336, 2**64 - 1, 4, 2))
SHIFTED = SegmentRef("t", "arrays/t/cd.seg", 500, Footer(100, 336, 15, 4, 2), 5, 3, rewritten=True)
CHANGES = Changes(
    8,
    20,
    (PageRef("pages/p.json.zst", 5, 10, 19),),
    column(0, 1),
    ROWS,
    ("arrays/t/old.seg",),
    (SEGMENT, SHIFTED),
    ((8, "w"),),
    reset=True,
    tombstoned=("arrays/t/x.seg", "pages/x"),
    replaced=column(3, 9),
)
EMPTY = Changes(0, 0, writers=((0, "w"),))


def documents(kind="commit", changes=CHANGES):
    return json.loads(json.dumps(changes_to_json(kind, changes, time="now")))


def assert_rows(one, other):
    assert one.names == other.names
    for name in ("ids", "layouts", "attributes", "array_attributes"):
        assert getattr(one, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.layout_table == other.layout_table
    assert one.attribute_table == other.attribute_table


@pytest.mark.parametrize("kind", ["commit", "checkpoint"])
@pytest.mark.parametrize("changes", [CHANGES, EMPTY])
def test_changes_come_back(kind, changes):
    back = changes_from_json(kind, documents(kind, changes))
    assert (back.version, back.next_id, back.pages) == (changes.version, changes.next_id, changes.pages)
    assert (back.dropped, back.segments) == (changes.dropped, changes.segments)
    assert (back.writers, back.reset, back.tombstoned) == (changes.writers, changes.reset, changes.tombstoned)
    np.testing.assert_array_equal(back.deleted, changes.deleted)
    np.testing.assert_array_equal(back.replaced, changes.replaced)
    assert_rows(back.rows, changes.rows)


def test_pages_come_back():
    document = json.loads(json.dumps(page_to_json(ROWS)))
    assert_rows(page_from_json(document, PageRef("pages/p", 3, 2, 9)), ROWS)
    for other in (PageRef("pages/p", 4, 2, 9), PageRef("pages/p", 3, 1, 9), PageRef("pages/p", 3, 2, 10)):
        with pytest.raises(CorruptStoreError, match="does not hold"):
            page_from_json(document, other)
    with pytest.raises(CorruptStoreError):
        page_from_json(document, PageRef("pages/p", 3, 2, 8))
    with pytest.raises(CorruptStoreError):
        page_from_json(page_to_json(EMPTY_ROWS), PageRef("pages/p", 0, 0, 0))


def test_attributes_of_both_sets_are_read_in_the_order_they_were_set():
    found = [list(ROWS.encoded_attributes(row).items()) for row in range(3)]
    assert found == [
        [],
        [("a", 1.5), (("t", "units"), 1.5), (("b",), 1.5)],
        [("a", 1), (("t", "units"), "K"), (("b",), {"$": "none"})],
    ]


def test_the_attributes_of_arrays_of_many_datasets_are_written_once():
    keys = (("t", "units"), "station", "_pyatlas_coords", "_atlas_source", "a.b")
    rows = build_rows(
        np.arange(9),
        [f"d{n}" for n in range(9)],
        [()],
        np.zeros(9, np.int64),
        [dict(zip(keys, ["K", f"station {n}", "[]", f"{n}.nc", 1], strict=True)) for n in range(9)],
        np.arange(9),
    )
    document = rows_to_json(rows)
    assert (document["attributes"], document["array_attributes"]) == ({"start": 0, "count": 9}, {"runs": [0, 9]})
    assert (len(document["attribute_table"]), len(document["attribute_table"][0])) == (9, 3)
    assert [document["value_table"][at] for at in document["array_attribute_table"][0][1:]] == ["K", "[]", 1]
    assert list(rows_from_json(document, 9).encoded_attributes(4)) == list(keys)


def test_rows_are_joined():
    table = AttributeTable([("k", "t.u")], [5, 6], [[0, 0]], [[0, 1]])
    later = RowBatch(column(11), ["z"], column(0), column(0), column(0), LAYOUTS[1:2], table)
    both = RowBatch.joined(ROWS, later)
    assert both.names == [*ROWS.names, "z"]
    assert both.ids.tolist() == [2, 3, 9, 11]
    assert [both.layout_table[at] for at in both.layouts] == [LAYOUTS[1], LAYOUTS[1], LAYOUTS[2], LAYOUTS[1]]
    assert both.encoded_attributes(3) == {"k": 5, "t.u": 6}
    for at in range(3):
        assert both.encoded_attributes(at) == ROWS.encoded_attributes(at)
    assert RowBatch.joined(EMPTY_ROWS, ROWS) is RowBatch.joined(ROWS, EMPTY_ROWS) is ROWS


def test_rows_are_picked():
    some = ROWS.picked(np.array([True, False, True]))
    assert (some.ids.tolist(), some.names, some.layouts.tolist()) == ([2, 9], ["a", "c d"], [1, 2])
    assert [some.encoded_attributes(at) for at in range(2)] == [ROWS.encoded_attributes(at) for at in (0, 2)]
    assert ROWS.picked(np.ones(3, bool)) is ROWS


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], list),
        ([1, 2, 3, 4], list),
        (range(7, 17), dict),
        ([4] * 9, dict),
        ([1, 1, 1, 2, 2, 2, 2], dict),
        ([5, 1, 4, 2, 8], list),
    ],
)
def test_columns_of_integers_are_short(values, kind):
    document = _ints_to_json(np.array(values, np.int64))
    assert type(document) is kind
    np.testing.assert_array_equal(ints_from_json(document, "it", len(values), 100), values)


@given(
    st.lists(st.integers(0, 2**63 - 1))
    | st.lists(st.integers(0, 2))
    | st.builds(lambda a, n: list(range(a, a + n)), st.integers(0, 9), st.integers(0, 9))
)
def test_any_column_of_integers_comes_back(values):
    document = json.loads(json.dumps(_ints_to_json(np.array(values, np.int64))))
    np.testing.assert_array_equal(ints_from_json(document, "it", len(values), 2**63), np.array(values, np.int64))


@pytest.mark.parametrize(
    "document",
    [
        None,
        3,
        "abc",
        [1, 2],
        [1, 2, 3, 4],
        [1, 2, 10],
        [1, 2, -1],
        [1, 2, 2**63],
        [1, 2, 2.0],
        [1, 2, True],
        [1, 2, None],
        [1, 2, "3"],
        {},
        {"start": 1},
        {"start": 1, "count": 2},
        {"start": 8, "count": 3},
        {"start": -1, "count": 3},
        {"start": 1.0, "count": 3},
        {"start": 2**63 - 2, "count": 3},
        {"start": True, "count": 3},
        {"count": 3},
        {"runs": None},
        {"runs": []},
        {"runs": [1]},
        {"runs": [1, 2]},
        {"runs": [1, 4]},
        {"runs": [1, 2, 3]},
        {"runs": [1, -1, 2, 4]},
        {"runs": [1, 2**62, 1, 2**62, 1, 2**62, 1, 2**62, 1, 3]},
        {"runs": [1, 10**12]},
        {"runs": [10, 3]},
        {"runs": [1, 1.5, 1, 1.5]},
        {"runs": [2**64, 3]},
        {"start": 0, "count": 10**12},
    ],
)
def test_hostile_columns_of_integers(document):
    with pytest.raises(CorruptStoreError):
        ints_from_json(document, "it", 3, 10)


@pytest.mark.parametrize("kind", ["commit", "checkpoint", "page"])
def test_a_later_format_is_refused_as_such(kind):
    with pytest.raises(UnsupportedFormatError, match="newer atlas-store"):
        read(kind, documents() | {"atlas": kind, "format": 2})


def read(kind, document):
    return (
        page_from_json(document, PageRef("pages/p", 3, 2, 9)) if kind == "page" else changes_from_json(kind, document)
    )


@pytest.mark.parametrize(
    "change", [{"format": 0}, {"format": None}, {"format": "1"}, {"atlas": "page"}, {"atlas": None}]
)
def test_another_kind_of_document_is_refused(change):
    with pytest.raises(CorruptStoreError, match="not a commit"):
        changes_from_json("commit", documents() | change)


HOSTILE = [
    None,
    True,
    -1,
    2**63,
    2**70,
    1.5,
    "",
    "x",
    [],
    [[]],
    [None],
    [-1],
    [2**64],
    ["a", "a"],
    [["t", 0, 0]],
    {},
    {"": 1},
]


def paths(document, prefix=()):
    """Places of everything within a document."""
    if prefix:
        yield prefix
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from paths(value, (*prefix, key))


def test_hostile_values_anywhere_are_refused_or_make_sound_changes():
    original = documents()
    for path in paths(original):
        for hostile in HOSTILE:
            document = copy.deepcopy(original)
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = hostile
            try:
                changes = changes_from_json("commit", document)
            except CorruptStoreError:
                continue
            except UnsupportedFormatError:
                assert path == ("format",)
                continue
            check_sound(changes)


def check_sound(changes):
    """What the catalog relies on."""
    rows = changes.rows
    assert len(rows.ids) == len(rows.names) == len(rows.layouts)
    assert len(rows.names) == len(rows.attributes) == len(rows.array_attributes)
    assert (np.diff(rows.ids) > 0).all()
    for layout in rows.layouts.tolist():
        assert all(isinstance(entry, ArrayEntry) for entry in rows.layout_table[layout])
    for at in range(len(rows)):
        rows.encoded_attributes(at)
    assert 0 <= changes.next_id < 2**63
    assert (changes.deleted < changes.next_id).all()
    for segment in changes.segments:
        assert segment.key.startswith("arrays/")
    json.dumps(changes_to_json("commit", changes))


@pytest.mark.parametrize("field", ["version", "next_id", "pages", "deleted", "rows", "dropped", "segments"])
def test_a_missing_field_is_refused(field):
    document = documents()
    del document[field]
    with pytest.raises(CorruptStoreError):
        changes_from_json("commit", document)


@pytest.mark.parametrize("field", ["array", "key", "size", "index", "index_xxh3", "chunks", "blocks"])
def test_a_missing_field_of_a_segment_is_refused(field):
    document = documents()
    del document["segments"][0][field]
    with pytest.raises(CorruptStoreError):
        changes_from_json("commit", document)


def test_fields_that_are_not_known_are_passed_over():
    document = documents() | {"future": {"a": 1}}
    document["rows"]["future"] = document["segments"][0]["future"] = 1
    assert changes_from_json("commit", document).version == 8


@pytest.mark.parametrize(
    "key",
    [
        "/etc/passwd",
        "arrays",
        "arrays/",
        "arrays//x",
        "arrays/../x",
        "arrays/./x",
        "pages/x",
        "arrays/a\\b",
        "arrays/a\0",
        "../arrays/x",
        "",
        5,
        None,
    ],
)
def test_keys_that_lead_elsewhere_are_refused(key):
    for path in (("segments", 0, "key"), ("dropped", 0)):
        document = documents()
        inner = document
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = key
        with pytest.raises(CorruptStoreError, match="not a key under arrays/"):
            changes_from_json("commit", document)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ids", [3, 2, 9]),
        ("ids", [2, 2, 9]),
        ("ids", [2, 3, 20]),
        ("names", ["a", "b"]),
        ("names", ["a", "b", "_c"]),
        ("names", ["a", "b", ""]),
        ("names", ["a", "b", 3]),
        ("layouts", [0, 1, 3]),
        ("attributes", [0, 1, 3]),
        ("attributes", [0, 2, True]),
        ("attributes", [0, 0, 1]),
        ("attributes", [0, 2]),
        ("array_attributes", [1, 2, 3]),
        ("array_attributes", [1, 2, False]),
        ("array_attributes", [1, 2, 1]),
        ("array_attributes", [1, 2]),
        ("layout_table", [[], [["t", 0, 0], ["t", 0, 0]], []]),
        ("layout_table", [[], [["t", 2, 0]], []]),
        ("layout_table", [[], [["t", 0, -1]], []]),
        ("layout_table", [[], [["_t", 0, 0]], []]),
        ("layout_table", [[], [["t", 0]], []]),
        ("layout_table", [[], "ab", []]),
        ("attribute_table", [[], [1, 0, 2], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, 2, 3], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, 4], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, -1], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, True], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, 2.0], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, 2**64], [1, 1, 1]]),
        ("attribute_table", [[0], [1, 0, [2]], [1, 1, 1]]),
        ("attribute_table", [[0], "abc", [1, 1, 1]]),
        ("attribute_table", [[0], {"0": 1}, [1, 1, 1]]),
        ("attribute_table", [[2], [1, 0, 2], [1, 1, 1]]),
        ("attribute_table", [[-1], [1, 0, 2], [1, 1, 1]]),
        ("attribute_table", [[False], [1, 0, 2], [1, 1, 1]]),
        ("attribute_table", {"start": 0, "count": 3}),
        ("array_attribute_table", [[1, 3], [], [1, 1]]),
        ("array_attribute_table", [[1], [0], [1, 1]]),
        ("array_attribute_table", [[1, 3, 0], [0], [1, 1]]),
        ("array_attribute_table", [[1, 4], [0], [1, 1]]),
        ("array_attribute_table", [[1, -1], [0], [1, 1]]),
        ("array_attribute_table", [[1, 3], [0], [True, 1]]),
        ("array_attribute_table", [[1, 3], [2], [1, 1]]),
        ("array_attribute_table", [[1, 3], [0, 0], [1, 1]]),
        ("array_attribute_table", [[1, 3], None, [1, 1]]),
        ("array_attribute_table", None),
        ("keyset_table", [[], [["a", "b", "c"], "t.x", "y"]]),
        ("keyset_table", [[], [[], "t.x", "y"]]),
        ("keyset_table", [[], [1, "t.x", "y"]]),
        ("keyset_table", [[], ["x", "y", "z"]]),
        ("keyset_table", [[], ["t.x", "t.y", "z"]]),
        ("keyset_table", [5, []]),
    ],
)
def test_rows_that_contradict_themselves(field, value):
    document = documents()
    document["rows"][field] = value
    with pytest.raises(CorruptStoreError):
        changes_from_json("commit", document)


@pytest.mark.parametrize("deleted", [[1, 0], [1, 1], [20], [-1], [None], {"start": 0, "count": 2}])
def test_lists_of_deleted_ids_that_break_a_rule(deleted):
    with pytest.raises(CorruptStoreError):
        changes_from_json("commit", documents() | {"deleted": deleted})


@pytest.mark.parametrize("replaced", [[3, 2], [3, 3], [4], [20], [-1], [None], {"start": 2, "count": 2}, None])
def test_lists_of_replaced_ids_that_break_a_rule(replaced):
    with pytest.raises(CorruptStoreError, match="replace"):
        changes_from_json("commit", documents() | {"replaced": replaced})


def test_every_refusal_is_of_the_family():
    with pytest.raises(AtlasError):
        changes_from_json("commit", {})


def test_documents_without_attributes_of_arrays_say_nothing_of_them():
    table = AttributeTable([("b", "a"), ()], [1, 2], [[1], [0, 1, 0], [0, 0, 0]], [[1], [0]])
    rows = RowBatch(column(2, 3, 9), ["a", "b", "c"], column(0, 0, 0), column(1, 0, 2), column(1, 0, 1), [()], table)
    document = rows_to_json(rows)
    assert document.keys().isdisjoint({"array_attributes", "array_attribute_table"})
    found = rows_from_json(document, 10)
    assert [found.encoded_attributes(at) for at in range(3)] == [{"b": 2, "a": 1}, {}, {"b": 1, "a": 1}]
    for missing in ("array_attributes", "array_attribute_table"):
        whole = rows_to_json(ROWS)
        del whole[missing]
        with pytest.raises(CorruptStoreError):
            rows_from_json(whole, 10)
    both = rows_to_json(ROWS)
    del both["array_attributes"], both["array_attribute_table"]
    with pytest.raises(CorruptStoreError):
        rows_from_json(both, 10)
