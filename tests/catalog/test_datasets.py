from __future__ import annotations

import numpy as np
import pytest

from atlas.catalog import catalog as catalog_module
from atlas.catalog.catalog import Catalog
from atlas.catalog.datasets import Datasets
from atlas.commit.rebase import unchanged_base
from atlas.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidNameError,
    InvalidTypeError,
)
from atlas.format.changes import Changes
from atlas.format.dataset_columns import RowBatch
from atlas.format.schema import make_schema

ONE, TWO = (make_schema("int8", ["x"], [n]) for n in (1, 2))


def commit(datasets):
    changed, created = unchanged_base(datasets).rows()
    catalog = datasets.catalog
    deleted = np.array(sorted(datasets.deleted.values()), np.int64)
    catalog.apply(Changes(catalog.version + 1, datasets.next_id, (), deleted, RowBatch.joined(changed, created)), [])
    datasets.move_to(catalog, [], {})


@pytest.fixture
def datasets():
    catalog = Catalog()
    catalog.apply(Changes(0, 0), [])
    found = Datasets(catalog)
    for name, schema in (("a", ONE), ("b", TWO), ("c", None)):
        found.create(name)
        if schema:
            found.define(name, {"t": schema})
    commit(found)
    return found


def test_datasets_are_found_committed_or_not(datasets):
    datasets.create("d")
    datasets.delete("b")
    assert datasets.names() == ["a", "c", "d"]
    assert len(datasets) == 3
    assert [datasets.exists(name) for name in "abcdx"] == [True, False, True, True, False]
    with pytest.raises(DatasetNotFoundError, match="no dataset 'b'"):
        datasets.state("b")
    for name in (5, None, ["a"]):
        with pytest.raises(InvalidTypeError, match="a dataset name is a str"):
            datasets.state(name)
    assert datasets.pending
    commit(datasets)
    assert (datasets.names(), datasets.pending) == (["a", "c", "d"], False)


def test_what_is_created_twice_or_named_badly_is_refused(datasets):
    with pytest.raises(DatasetExistsError):
        datasets.create("a")
    with pytest.raises(InvalidNameError):
        datasets.create("_a")
    with pytest.raises(ArrayExistsError):
        datasets.define("a", {"t": ONE})
    with pytest.raises(InvalidNameError):
        datasets.define("a", {"u": ONE, "x/y": ONE})  # all of them or none
    with pytest.raises(ArrayNotFoundError, match="it has 't'"):
        datasets.state("a").array("u")
    assert not datasets.pending


def test_ids_are_never_used_again(datasets):
    ids = [datasets.create("d").identity]
    datasets.delete("d")
    ids.append(datasets.create("d").identity)
    commit(datasets)
    datasets.delete("d")
    ids.append(datasets.create("d").identity)
    commit(datasets)
    assert ids == [3, 4, 5]
    assert datasets.state("d").identity == 5


def test_a_dataset_that_came_and_went_leaves_nothing(datasets):
    datasets.create("d")
    datasets.delete("d")
    assert not datasets.deleted
    assert not datasets.edited
    assert datasets.names() == ["a", "b", "c"]


def test_a_dataset_deleted_and_made_anew_is_another(datasets):
    datasets.delete("a")
    datasets.create("a")
    assert datasets.names() == ["b", "c", "a"]
    assert datasets.arrays("t", ["a", "b"]).schema.tolist()[0] == -1
    commit(datasets)
    assert datasets.names() == ["b", "c", "a"]


def test_changes_are_made_on_a_copy(datasets):
    before = datasets.state("a")
    state = datasets.edit("a")
    state.attributes["k"] = 1
    assert before.attributes == {}
    assert datasets.state("a") is datasets.edit("a") is state
    commit(datasets)
    assert datasets.state("a").attributes == {"k": 1}


def test_generations_tell_declarations_apart(datasets):
    assert datasets.state("a").arrays["t"].generation == 0
    del datasets.edit("a").own_arrays()["t"]
    datasets.define("a", {"t": ONE})
    datasets.define("c", {"t": ONE})
    second = datasets.generation
    assert [datasets.state(name).arrays["t"].generation for name in "ac"] == [second, second]
    commit(datasets)
    del datasets.edit("a").own_arrays()["t"]
    datasets.define("a", {"t": ONE})
    third = datasets.state("a").arrays["t"].generation
    assert len({0, second, third}) == 3
    assert 0 < second < 2**63 > third > 0


def test_equal_declarations_share_one_entry(datasets):
    for name in "xyz":
        datasets.create(name)
        datasets.define(name, {"t": make_schema("int8", ["x"], [1])})
    assert len({id(datasets.state(name).arrays["t"]) for name in "xyz"}) == 1


def test_array_names_follow_what_is_pending(datasets):
    assert datasets.array_names() == ["t"]
    datasets.define("c", {"s": ONE})
    assert datasets.array_names() == ["s", "t"]
    datasets.delete("a")
    del datasets.edit("b").own_arrays()["t"]
    assert datasets.array_names() == ["s"]
    commit(datasets)
    assert datasets.array_names() == ["s"]


def test_an_array_is_looked_up_in_many(datasets):
    datasets.create("d")
    datasets.define("d", {"t": ONE})
    del datasets.edit("b").own_arrays()["t"]
    datasets.define("b", {"t": ONE})
    datasets.delete("a")
    later = datasets.generation
    found = datasets.arrays("t", ["b", "missing", "c", "d", "a", "b"])
    assert found.ids.tolist() == [1, -1, 2, 3, -1, 1]
    schemas = [found.schemas[at] if at >= 0 else None for at in found.schema.tolist()]
    assert schemas == [ONE, None, None, ONE, None, ONE]
    assert found.generations.tolist() == [later, -1, -1, 0, -1, later]
    assert found.present.tolist() == [0, 3, 5]
    groups = {group.schema: (group.at.tolist(), group.generations.tolist()) for group in found.groups}
    assert groups == {ONE: ([0, 3, 5], [later, 0, later])}


def test_looking_up_in_an_empty_store():
    found = Datasets(Catalog()).arrays("t", ["a", "b"])
    assert (found.ids.tolist(), found.schema.tolist(), found.groups) == ([-1, -1], [-1, -1], [])


def test_groups_hold_every_schema_once(datasets):
    found = datasets.arrays("t", ["b", "a", "b"])
    assert [(group.schema, group.at.tolist()) for group in found.groups] == [(ONE, [1]), (TWO, [0, 2])]


def test_names_for_messages(datasets):
    datasets.create("d")
    assert [datasets.name_of(identity) for identity in (0, 1, 3, 99)] == ["a", "b", "d", "id 99"]


def test_datasets_are_found_as_their_states_are(datasets):
    assert datasets.find("a") is None  # the names are not mapped yet
    datasets.create("d")
    datasets.define("b", {"u": ONE})
    datasets.delete("c")
    for name in ("a", "b", "d"):
        state = datasets.state(name)
        assert datasets.find(name) == (state.identity, state.arrays)
        assert datasets.is_known(name)
    assert datasets.find("c") is None
    commit(datasets)
    assert [datasets.find(name)[0] for name in ("a", "b", "d")] == [0, 1, 3]
    assert datasets.find("c") is None
    assert not datasets.is_known("c")
    assert not datasets.is_known("x")


def test_datasets_made_together_part_when_one_is_changed():
    catalog = Catalog()
    catalog.apply(Changes(0, 0), [])
    datasets = Datasets(catalog)
    datasets.create_many(["a", "b", "c"])
    ((entry, positions),) = datasets.entries_of(datasets.arrays("t", ["c", "a"]), "t", ONE)
    assert (entry.schema, entry.generation, positions.tolist()) == (ONE, 0, [0, 1])
    datasets.define_many(["c", "a"], "t", ONE)
    assert datasets.state("a").arrays == {"t": entry}
    assert datasets.state("a").arrays is datasets.state("c").arrays
    datasets.define("a", {"u": TWO})
    del datasets.edit("c").own_arrays()["t"]
    assert [list(datasets.state(name).arrays) for name in "abc"] == [["t", "u"], [], []]
    commit(datasets)
    assert [list(datasets.state(name).arrays) for name in "abc"] == [["t", "u"], [], []]
    datasets.define("b", {"t": ONE})
    datasets.create("d")
    defined = datasets.entries_of(datasets.arrays("v", ["d", "c", "b"]), "v", TWO)
    assert [(entry.generation, positions.tolist()) for entry, positions in defined] == [
        (datasets.generation, [1, 2]),
        (0, [0]),
    ]
    datasets.define_many(["d", "c", "b"], "v", TWO)
    assert [datasets.state(name).arrays["v"].generation for name in "dcb"] == [0, *[datasets.generation] * 2]
    assert [list(datasets.state(name).arrays) for name in "abcd"] == [["t", "u"], ["t", "v"], ["v"], ["v"]]
    commit(datasets)
    assert [list(datasets.state(name).arrays) for name in "abcd"] == [["t", "u"], ["t", "v"], ["v"], ["v"]]


def test_many_are_created_or_none(datasets):
    datasets.delete("b")
    for names, error in (
        (["x", "a"], DatasetExistsError),
        (["x", "y/z"], InvalidNameError),
        (["x", 5], InvalidTypeError),
    ):
        with pytest.raises(error):
            datasets.create_many(names)
        assert not datasets.exists("x")
    datasets.create_many(["x", "b"])
    with pytest.raises(DatasetExistsError):
        datasets.create_many(["y", "x"])
    assert datasets.names() == ["a", "c", "x", "b"]


def set_attributes(datasets, name, **attributes):
    datasets.edit(name).attributes = {key.replace("__", "."): value for key, value in attributes.items()}


def test_attributes_of_arrays_are_grouped_whatever_the_datasets_own_ones_are(datasets):
    for at, name in enumerate("abc"):
        set_attributes(datasets, name, station=at, t__units="K", _hidden=1)
    commit(datasets)
    found = datasets.array_attributes(datasets.arrays("t", list("abc")))
    assert (found.distinct, found.of.tolist()) == ([{"t.units": "K", "_hidden": 1}], [0, 0, 0])
    set_attributes(datasets, "c", t__units="K", _hidden=1, station=5)  # another table, and a list of keys of its own
    commit(datasets)
    set_attributes(datasets, "b", t__units="C")
    found = datasets.array_attributes(datasets.arrays("t", list("cab")))
    assert [found.distinct[at] for at in found.of.tolist()] == [{"t.units": "K", "_hidden": 1}] * 2 + [{"t.units": "C"}]
    assert found.of[0] == found.of[1]


@pytest.mark.parametrize("committed", [True, False])
def test_own_attributes_that_differ_later_than_in_the_first_datasets_are_found(datasets, committed):
    names = [f"d{at}" for at in range(30)]
    for at, name in enumerate(names):
        datasets.create(name)
        late = {"late": 1 if at < 20 else 2} if at % 2 == 0 else {}
        set_attributes(datasets, name, station=at, **late, alike="x", t__units=at)
    if committed:
        commit(datasets)
    found = datasets.own_attributes(datasets.arrays("t", names))
    assert list(found) == ["station", "late", "alike"]
    assert set(found["late"]) == {1, 2}
    assert set(found["alike"]) == {"x"}
    assert {0, 1} <= set(found["station"])


def test_own_attributes_that_are_equal_in_meaning_alone_are_all_found(datasets):
    for name, value in zip("abc", [1, 1.0, 2], strict=True):
        set_attributes(datasets, name, k=value, odd={"$": "no such tag"})
    commit(datasets)
    found = datasets.own_attributes(datasets.arrays("t", ["a", "b"]))
    assert set(map(repr, found["k"])) == {"1", "1.0"}
    assert found["odd"] == [{"$": "no such tag"}]


def test_attributes_of_a_selection_are_found_when_rows_have_got_other_numbers(datasets, monkeypatch):
    monkeypatch.setattr(catalog_module, "_MOST_DEAD", 0)
    for name in ("d", "e"):
        datasets.create(name)
    for name in "abcde":
        datasets.edit(name).attributes |= {"own": name, "t.units": f"of {name}"}
    commit(datasets)
    both, one = datasets.arrays("t", ["d", "e"]), datasets.arrays("t", ["c", "d"])
    for name in "abc":
        datasets.delete(name)
    commit(datasets)
    assert datasets.catalog.names == ["d", "e"]
    assert datasets.array_attributes(both).distinct == [{"t.units": "of d"}, {"t.units": "of e"}]
    assert datasets.own_attributes(both) == {"own": ["d", "e"]}
    with pytest.raises(DatasetNotFoundError, match="'c'"):
        datasets.array_attributes(one)
    assert datasets.arrays("t", ["d", "e"]).rows.tolist() == [0, 1]
