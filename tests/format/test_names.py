from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidNameError, InvalidTypeError
from atlas.format.names import check_each, check_name, folder_name
from atlas.storage.keys import check_key

SAFE = set(string.ascii_letters + string.digits + "-_.%")


def is_name(text):
    return bool(text) and not text.startswith("_") and "/" not in text and "\0" not in text and text not in {".", ".."}


@pytest.mark.parametrize("name", ["a", "a b", "...", ".hidden", "a_", "Ålesund", "🌊", "a\\b", "a\nb", "x" * 5000, " "])
def test_names_that_are_taken(name):
    assert check_name("array", name) == name


@pytest.mark.parametrize("name", ["", "_", "_a", "a/b", "/", ".", "..", "a\0", "\0", "\ud800", "a\udcff"])
def test_names_that_are_refused(name):
    with pytest.raises(InvalidNameError):
        check_name("dataset", name)


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"], 1.5, ("a",)])
def test_what_is_no_text_is_refused(name):
    with pytest.raises(InvalidTypeError, match="array name is text"):
        check_name("array", name)


def refusal(check):
    try:
        check()
    except InvalidNameError as error:
        return str(error)
    return None


@given(st.lists(st.text(alphabet="a_./\0é\ud800", max_size=3) | st.just("plain"), max_size=6))
def test_many_names_are_checked_as_each_is(names):
    one_by_one = refusal(lambda: [check_name("dataset", name) for name in names])
    assert refusal(lambda: check_each("dataset", names)) == one_by_one


def test_what_is_no_text_among_names_is_refused():
    with pytest.raises(InvalidTypeError, match="a dataset name is text, not int: 5"):
        check_each("dataset", ["a", 5])


@pytest.mark.parametrize(
    ("name", "folder"),
    [("temp-1_a.B", "temp-1_a.B"), ("a b", "a%20b"), ("100%", "100%25"), ("é", "%C3%A9"), ("a\\b:c", "a%5Cb%3Ac")],
)
def test_folders(name, folder):
    assert folder_name(name) == folder


@given(st.text().filter(is_name))
def test_folders_are_safe_keys_of_bounded_length(name):
    folder = folder_name(name)
    assert set(folder) <= SAFE
    assert len(folder) <= 217
    check_key(f"arrays/{folder}/x.seg")


@given(st.text().filter(is_name), st.text().filter(is_name))
def test_different_names_have_different_folders(one, other):
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_long_names_with_one_beginning_have_different_folders():
    folders = {folder_name("x" * 300 + tail) for tail in ("", "a", "b", "é")}
    assert len(folders) == 4
    assert all(folder.startswith("x" * 200 + "%") for folder in folders)
    assert folder_name("x" * 200) == "x" * 200
