"""How attributes are shown, found and assigned to arrays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidNameError, InvalidTypeError
from atlas.format.attribute_keys import (
    DTYPE_KEY,
    SOURCE_KEY,
    ArrayPrefixes,
    are_shown_apart,
    array_keys,
    check_key,
    check_text,
    find_key,
    flatten_key,
    is_hidden,
    is_plain_key,
    key_places,
    may_be_of_array,
    own_keys,
    shown_keys,
)

PARTS = st.text("a.", max_size=6)
KEYS = PARTS | PARTS.map(lambda part: (part,)) | st.tuples(PARTS, PARTS)


def test_keys_are_shown_flat():
    assert flatten_key("a.b") == "a.b"
    assert flatten_key(("a.b",)) == "a.b"
    assert flatten_key(("a", "b")) == "a.b"


@given(st.lists(KEYS, unique_by=flatten_key, max_size=6), PARTS)
def test_the_key_that_is_shown_so_is_found(keys, text):
    assert find_key(dict.fromkeys(keys), text) == next((key for key in keys if flatten_key(key) == text), None)
    for key in keys:
        assert find_key(dict.fromkeys(keys), flatten_key(key)) == key


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), True),
        (("a", "b", ("a", "b")), True),
        (("a", ("a",)), False),
        ((("a", "b.c"), ("a.b", "c")), False),
        (("a.b", "c", ("a", "b")), False),
    ],
)
def test_whether_keys_are_shown_by_texts_of_their_own(keys, expected):
    assert are_shown_apart(keys) is expected


@pytest.mark.parametrize("dots", [16, 17, 10**6])
def test_a_key_of_many_dots_is_found(dots):
    key = ("a", "." * (dots - 1))
    assert find_key({"b": 1, key: 2}, "a" + "." * dots) == key
    assert find_key({"b": 1, key: 2}, "b" + "." * dots) is None


@given(st.sets(st.text("a.", min_size=1, max_size=4)), PARTS)
def test_the_longest_array_whose_name_and_a_dot_begin_the_text_owns_it(arrays, text):
    owners = [name for name in arrays if text.startswith(f"{name}.")]
    owner = max(owners, key=len, default=None)
    assert ArrayPrefixes(arrays).split(text) == (owner, text if owner is None else text[len(owner) + 1 :])


def test_the_key_alone_decides_whether_an_attribute_may_be_of_an_array():
    own = ["station", ("station",), SOURCE_KEY, (SOURCE_KEY,), "", "a_b"]
    others = ["t.units", ("t", "units"), ("t.units",), "a.b", "_hidden", ("_hidden",), ("", ""), f"t.{SOURCE_KEY}"]
    assert own_keys([*others[:4], *own, *others[4:]]) == own
    assert array_keys([*own[:2], *others, *own[2:]]) == others


@given(st.sets(st.text("a_.", min_size=1, max_size=4)), st.tuples(st.text("a_.", max_size=4)) | KEYS)
def test_what_may_be_of_no_array_is_of_none(arrays, key):
    assert may_be_of_array(key) or ArrayPrefixes(arrays).split(flatten_key(key))[0] is None


@pytest.mark.parametrize("key", [5, None, b"k", ("a", 1), ["a"]])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidTypeError, match="attribute key"):
        check_key(key)


def test_places_count_own_values_before_those_of_arrays():
    keys = ("t.units", "a", ("t", "mean"), ("b",), DTYPE_KEY, SOURCE_KEY)
    in_order = [None, *own_keys(keys), *array_keys(keys)]
    assert [in_order[place] for place in key_places(keys)] == list(keys)
    shown = shown_keys(keys)
    assert [text for text, _ in shown] == ["t.units", "a", "t.mean", "b"]
    assert [in_order[place] for _, place in shown] == [key for key in keys if not is_hidden(key)]
    assert key_places(()) == shown_keys(()) == ()


@pytest.mark.parametrize("key", ["x", "t.units", "", "_FillValue", "å"])
def test_plain_keys_are_neither_hidden_nor_beyond_utf8(key):
    assert is_plain_key(key)
    check_text(key)
    for wrong in (key + "\udc80", f"{key}.{DTYPE_KEY}"):
        assert not is_plain_key(wrong)
    with pytest.raises(InvalidNameError, match="surrogate"):
        check_text(("t", key + "\ud800"))
