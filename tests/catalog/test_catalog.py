from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog import catalog as catalog_module
from atlas.catalog.catalog import Catalog
from atlas.catalog.column_builder import build_rows
from atlas.errors import CorruptStoreError
from atlas.format.changes import Changes, PageRef, changes_from_json, changes_to_json
from atlas.format.dataset_columns import EMPTY_ROWS, ArrayEntry
from atlas.format.schema import make_schema
from atlas.format.segment import Footer, SegmentRef

ENTRIES = [ArrayEntry(name, make_schema("int8", ["x"], [n]), 0) for name in "ab" for n in (1, 2)]


def batch(*rows):
    """Rows of (id, name, entries, attributes)."""
    if not rows:
        return EMPTY_ROWS
    ids, names, layouts, attributes = zip(*rows, strict=True)
    each = np.arange(len(rows))
    return build_rows(np.array(ids), list(names), [tuple(layout) for layout in layouts], each, attributes, each)


def simple(*ids):
    return batch(*((identity, f"d{identity}", ENTRIES[:1], {"n": identity}) for identity in ids))


def segment(array, number):
    return SegmentRef(array, f"arrays/{array}/{number}.seg", 500, Footer(100, 336, 0, 4, 2))


def contents(catalog):
    return [
        (int(catalog.ids[row]), catalog.names[row], catalog.layout(row), catalog.encoded_attributes(row))
        for row in catalog.live_rows().tolist()
    ]


def opened(catalog, pages):
    """The catalog that opening its checkpoint gives, by way of documents."""
    changes = changes_from_json("checkpoint", changes_to_json("checkpoint", catalog.checkpoint()))
    fresh = Catalog()
    fresh.apply(changes, [pages[page.key] for page in changes.pages])
    return fresh


def write_pages(catalog, pages, page_rows):
    """What the commit writer does before it writes a checkpoint."""
    replace, runs = catalog.plan_pages(page_rows)
    refs = []
    for run in runs:
        rows = catalog.rows(run)
        ref = PageRef(f"pages/{len(pages)}", len(rows), int(rows.ids[0]), int(rows.ids[-1]))
        pages[ref.key] = rows
        refs.append(ref)
    catalog.record_pages(refs, replace=replace)


def test_rows_are_built_with_everything_once():
    rows = batch(
        (1, "a", ENTRIES[:2], {"k": 1, "a.l": "x"}),
        (2, "b", ENTRIES[:2], {"k": 1, "a.l": "x"}),
        (5, "c", [], {"a.l": "x", "k": 1}),
        (6, "d", ENTRIES[1:2], {}),
        (7, "e", [], {"k": "x", "a.l": "x"}),
    )
    assert rows.layout_table == [tuple(ENTRIES[:2]), (), (ENTRIES[1],)]
    assert rows.layouts.tolist() == [0, 0, 1, 2, 1]
    assert rows.attributes.tolist() == [0, 0, 1, 2, 3]
    assert rows.array_attributes.tolist() == [0, 0, 1, 2, 0]
    assert rows.attribute_table.keysets == [("k", "a.l"), ("a.l", "k"), ()]
    assert rows.attribute_table.values == [1, "x"]
    assert rows.attribute_table.sets == [[0, 0], [1, 0], [2], [0, 1]]
    assert rows.attribute_table.array_sets == [[0, 1], [1, 1], [2]]


def test_values_that_are_equal_to_python_but_not_alike_are_kept_apart():
    values = [
        1,
        1.0,
        True,
        0,
        0.0,
        -0.0,
        False,
        "1",
        {"$": "none"},
        {"$": "list", "v": [1]},
        {"$": "list", "v": [1.0]},
        {"$": "list", "v": [True]},
    ]
    rows = batch(*((at, f"d{at}", [], {"k": value}) for at, value in enumerate(values)))
    found = [rows.encoded_attributes(at)["k"] for at in range(len(rows))]
    assert list(map(repr, found)) == list(map(repr, values))


def test_equal_layouts_of_different_objects_are_one():
    again = ArrayEntry("a", make_schema("int8", ["x"], [1]), 0)
    assert len(batch((1, "a", [ENTRIES[0]], {}), (2, "b", [again], {})).layout_table) == 1


def test_commits_add_up():
    catalog = Catalog()
    assert (catalog.version, catalog.next_id, len(catalog)) == (-1, 0, 0)
    catalog.apply(Changes(0, 0), [])
    catalog.apply(Changes(1, 3, rows=simple(0, 1, 2), segments=(segment("a", 1), segment("b", 1))), [])
    edited = batch((0, "d0", ENTRIES[1:3], {"n": -1}), (4, "d1", [], {}))
    catalog.apply(Changes(2, 5, (), np.array([1]), edited, ("arrays/b/1.seg",), (segment("a", 2),)), [])
    assert contents(catalog) == [
        (0, "d0", tuple(ENTRIES[1:3]), {"n": -1}),
        (2, "d2", (ENTRIES[0],), {"n": 2}),
        (4, "d1", (), {}),
    ]
    assert catalog.row_by_name == {"d0": 0, "d2": 2, "d1": 3}
    assert catalog.segments == {"a": [segment("a", 1), segment("a", 2)]}
    assert set(catalog.live_layouts()) == {tuple(ENTRIES[1:3]), (ENTRIES[0],), ()}
    assert contents(opened(catalog, {})) == contents(catalog)


def test_what_readers_took_is_not_changed_under_them():
    catalog = Catalog()
    catalog.apply(Changes(0, 3, rows=simple(0, 1, 2)), [])
    ids, layouts, segments = catalog.ids, catalog.layouts, catalog.segments
    before = ids.copy(), layouts.copy(), dict(segments)
    catalog.apply(
        Changes(
            1, 4, deleted=np.array([0]), rows=batch((1, "d1", [], {}), (3, "x", [], {})), segments=(segment("a", 1),)
        ),
        [],
    )
    np.testing.assert_array_equal(ids, before[0])
    np.testing.assert_array_equal(layouts, before[1])
    assert segments == before[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (Changes(2, 3), "of version 2"),
        (Changes(0, 3), "of version 0"),
        (Changes(1, 2), "next_id 2 is not above"),
        (Changes(1, 3, deleted=np.array([7])), "not known"),
        (Changes(1, 3, rows=batch((1, "other", [], {}))), "not the live dataset 'other'"),
        (Changes(1, 3, rows=batch((2, "d2", [], {}), (3, "x", [], {}))), "next_id 3 is not above"),
        (Changes(1, 3, deleted=np.array([1]), rows=batch((1, "d1", [], {}))), "not the live dataset"),
    ],
)
def test_changes_that_contradict_what_is_known(changes, message):
    catalog = Catalog()
    catalog.apply(Changes(0, 3, rows=simple(0, 1, 2)), [])
    with pytest.raises(CorruptStoreError, match=message):
        catalog.apply(changes, [])


def test_a_dataset_is_deleted_once():
    catalog = Catalog()
    catalog.apply(Changes(0, 3, rows=simple(0, 1, 2)), [])
    catalog.apply(Changes(1, 3, deleted=np.array([1])), [])
    with pytest.raises(CorruptStoreError, match="deleted twice"):
        catalog.apply(Changes(2, 3, deleted=np.array([1])), [])


def test_ids_below_those_taken_are_refused():
    catalog = Catalog()
    catalog.apply(Changes(0, 9, rows=simple(5, 6)), [])
    with pytest.raises(CorruptStoreError, match="not above every id before"):
        catalog.apply(Changes(1, 9, rows=simple(3)), [])
    with pytest.raises(CorruptStoreError, match="begins with id 6"):
        catalog.apply(Changes(1, 9, pages=(PageRef("pages/p", 1, 6, 6),)), [simple(6)])


def test_a_page_may_hold_a_name_that_is_deleted_with_it():
    catalog = Catalog()
    catalog.apply(Changes(0, 1, rows=simple(0)), [])
    page = batch((1, "d0", [], {}))
    catalog.apply(Changes(1, 2, (PageRef("pages/p", 1, 1, 1),), np.array([0])), [page])
    assert catalog.row_by_name == {"d0": 1}


@pytest.mark.parametrize("rows", [batch((4, "d1", [], {})), batch((4, "x", [], {}), (5, "x", [], {}))])
def test_datasets_of_one_name_are_refused_where_names_are_looked_up(rows):
    catalog = Catalog()
    catalog.apply(Changes(0, 3, rows=simple(0, 1, 2)), [])
    catalog.apply(Changes(1, 9, rows=rows), [])
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match="same name"):
            _ = catalog.row_by_name


def test_a_name_is_found_again_after_its_dataset_was_made_anew():
    catalog = Catalog()
    catalog.apply(Changes(0, 3, rows=simple(0, 1, 2)), [])
    catalog.apply(Changes(1, 5, deleted=np.array([1]), rows=batch((3, "d1", [], {}), (4, "d4", [], {}))), [])
    expected = {"d0": 0, "d2": 2, "d1": 3, "d4": 4}
    assert (catalog.row_by_name, len(catalog)) == (expected, 4)
    catalog.apply(Changes(2, 6, deleted=np.array([3]), rows=batch((5, "d1", [], {}))), [])
    assert (catalog.row_by_name, len(catalog)) == (expected | {"d1": 5}, 4)


def test_entries_by_layout():
    catalog = Catalog()
    catalog.apply(
        Changes(0, 9, rows=batch((0, "x", ENTRIES[:1], {}), (1, "y", [], {}), (2, "z", [ENTRIES[2], ENTRIES[1]], {}))),
        [],
    )
    index = catalog.index_of("a")
    assert [index.entries[at] if at >= 0 else None for at in index.entry.tolist()] == [ENTRIES[0], None, ENTRIES[1]]
    assert catalog.index_of("missing").entry.tolist() == [-1, -1, -1]
    catalog.apply(Changes(1, 9, rows=batch((4, "w", [ENTRIES[1]], {}))), [])
    index = catalog.index_of("a")
    assert index.entries[index.entry[3]] == ENTRIES[1]


class Fleet:
    """The same, as dictionaries."""

    def __init__(self):
        self.rows = {}
        self.next_id = 0

    def draw(self, data):
        deleted = sorted(data.draw(st.sets(st.sampled_from(sorted(self.rows)), max_size=3))) if self.rows else []
        for identity in deleted:
            del self.rows[identity]
        changed = sorted(data.draw(st.sets(st.sampled_from(sorted(self.rows)), max_size=3))) if self.rows else []
        created = list(range(self.next_id, self.next_id + data.draw(st.integers(0, 7))))
        self.next_id += len(created) + data.draw(st.integers(0, 2))
        for identity in (*changed, *created):
            name = self.rows[identity][1] if identity in self.rows else f"d{identity}"
            layout = tuple(data.draw(st.sampled_from([ENTRIES[:1], ENTRIES[1:3], []])))
            self.rows[identity] = (identity, name, layout, {"n": data.draw(st.integers(0, 3))})
        return deleted, changed, created


@given(st.data())
def test_checkpoints_with_pages_hold_what_the_commits_add_up_to(data):
    small = 3
    fleet, catalog, pages = Fleet(), Catalog(), {}
    catalog.apply(Changes(0, 0), [])
    for version in range(1, data.draw(st.integers(2, 9))):
        deleted, changed, created = fleet.draw(data)
        new = batch(*(fleet.rows[identity] for identity in created))
        refs, page_rows, rows = (), [], [*changed, *created]
        if len(created) > small:
            refs = (PageRef(f"pages/{len(pages)}", len(new), created[0], created[-1]),)
            page_rows, rows = [new], changed
            pages[refs[0].key] = new
        inline = batch(*(fleet.rows[identity] for identity in rows)) if rows else EMPTY_ROWS
        changes = Changes(version, fleet.next_id, refs, np.array(deleted, np.int64), inline, writers=((version, "w"),))
        catalog.apply(changes_from_json("commit", changes_to_json("commit", changes)), page_rows)
        expected = [fleet.rows[identity] for identity in sorted(fleet.rows)]
        assert contents(catalog) == expected
        if data.draw(st.booleans()):
            write_pages(catalog, pages, small)
            assert contents(catalog) == contents(opened(catalog, pages)) == expected
            if data.draw(st.booleans()):
                catalog = opened(catalog, pages)
                assert len(catalog) == len(expected)
    firsts = [page.first for page in catalog.pages]
    assert firsts == sorted(firsts)


def test_many_rows_move_to_a_page_and_stay_there():
    catalog, pages = Catalog(), {}
    catalog.apply(Changes(0, 5000, rows=simple(*range(5000))), [])
    write_pages(catalog, pages, 4096)
    assert [page.rows for page in catalog.pages] == [5000]
    assert len(catalog.checkpoint().rows) == 0
    catalog.apply(Changes(1, 5001, deleted=np.array([3]), rows=batch((4, "d4", [], {}), (5000, "new", [], {}))), [])
    write_pages(catalog, pages, 4096)
    summary = catalog.checkpoint()
    assert (len(pages), summary.deleted.tolist(), summary.rows.ids.tolist()) == (1, [3], [4, 5000])
    assert contents(opened(catalog, pages)) == contents(catalog)


def test_pages_are_written_anew_once_much_has_changed():
    catalog, pages = Catalog(), {}
    catalog.apply(Changes(0, 6000, rows=simple(*range(6000))), [])
    write_pages(catalog, pages, 4096)
    catalog.apply(Changes(1, 6000, deleted=np.arange(4097)), [])
    write_pages(catalog, pages, 4096)
    assert [page.rows for page in catalog.pages] == [6000 - 4097]
    assert len(catalog.checkpoint().deleted) == 0
    assert contents(opened(catalog, pages)) == contents(catalog)


def test_a_segment_is_named_once():
    catalog = Catalog()
    catalog.apply(Changes(0, 0), [])
    one, other = (SegmentRef(array, "arrays/t/a.seg", 500, Footer(100, 336, 5, 4, 2)) for array in "tu")
    catalog.apply(Changes(1, 0, segments=(one,)), [])
    for again in (one, other):
        with pytest.raises(CorruptStoreError, match="named twice"):
            catalog.copy().apply(Changes(2, 0, segments=(again,)), [])
    catalog.apply(Changes(2, 0, dropped=(one.key,), segments=(other,)), [])
    assert catalog.segments == {"u": [other]}


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_all_names_in_their_order_are_found_without_a_map_of_them(deleted, hidden, missing):
    catalog = Catalog()
    catalog.apply(Changes(0, 10, rows=simple(*range(10))), [])
    catalog.apply(Changes(1, 10, deleted=np.array(sorted(deleted), np.int64)), [])
    hidden -= deleted
    live = [at for at in range(10) if at not in deleted | hidden]
    names, rows = catalog.live_names(hidden)
    assert (names, rows.tolist()) == ([f"d{at}" for at in live], live)
    assert catalog.find_rows(names.copy(), hidden).tolist() == live
    assert catalog.known_rows == {}
    some = [f"d{at}" for at in range(9, -1, -1) if at not in missing]
    want = [int(name[1:]) if int(name[1:]) in live else -1 for name in some]
    assert catalog.find_rows(some, hidden).tolist() == want


@given(st.data())
def test_a_catalog_holds_no_more_than_one_that_is_opened(data):
    lived, model, version, next_id, pages = Catalog(), {}, 0, 0, {}
    with mock.patch.object(catalog_module, "_MOST_DEAD", 4):
        for _ in range(data.draw(st.integers(1, 30))):
            created = [next_id + at for at in range(data.draw(st.integers(0, 3)))]
            next_id += len(created)
            deleted = data.draw(st.sets(st.sampled_from(sorted(model)), max_size=4)) if model else set()
            kept = sorted(model.keys() - deleted)
            changed = data.draw(st.sets(st.sampled_from(kept), max_size=2)) if kept else set()
            rows = batch(
                *(
                    (at, f"d{at}", ENTRIES[:1], {"n": version, "t.units": f"u{version % 3}"})
                    for at in sorted({*created, *changed})
                )
            )
            lived.apply(Changes(version, next_id, deleted=np.array(sorted(deleted), np.int64), rows=rows), [])
            model = {at: n for at, n in model.items() if at not in deleted} | dict.fromkeys(
                [*created, *changed], version
            )
            version += 1
            if data.draw(st.integers(0, 5)) == 0:
                write_pages(lived, pages, 2)
            if lived.names:
                lived.find_rows(lived.live_names()[0][::-1])
            assert lived.live_names()[0] == [f"d{at}" for at in sorted(model)]
            found = [attributes["n"] for *_, attributes in contents(lived)]
            assert found == [model[at] for at in sorted(model)]
        assert len(lived.names) <= 2 * max(4, len(model)) + 4
        assert len(lived._attributes._tables) <= 48
        fresh = opened(lived, pages)
        assert contents(fresh) == contents(lived)
        assert fresh.next_id == lived.next_id
