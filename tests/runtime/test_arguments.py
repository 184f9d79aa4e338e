"""Checks of arguments: what passes, and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.runtime.arguments import check_choice, check_flag, parse_choice


@pytest.mark.parametrize("value", ["a", None])
def test_known_texts_pass(value):
    check_choice("how", value, (None, "a"))


@pytest.mark.parametrize("value", ["b", "", 3, ["a"], np.array(["a"])])
def test_others_are_named_with_what_is_known_and_what_helps(value):
    with pytest.raises(InvalidValueError) as caught:
        check_choice("how", value, (None, "a"), "; use 'a'")
    assert str(caught.value) == f"how is one of None, 'a', not {value!r}; use 'a'"


@pytest.mark.parametrize("value", [True, False, np.True_])
def test_flags_pass(value):
    check_flag("whole", value)


@pytest.mark.parametrize("value", [1, "yes", None, np.array([True])])
def test_what_is_no_flag_is_named(value):
    with pytest.raises(InvalidTypeError) as caught:
        check_flag("whole", value)
    assert str(caught.value) == f"whole is True or False, not {type(value).__name__} {value!r}"


@pytest.mark.parametrize("value", ["none", "None", "NONE"])
def test_names_in_any_case_are_options(value):
    assert parse_choice("codec", value, {"zstd": "zstd", "none": "no"}) == "no"


@pytest.mark.parametrize(("value", "error"), [("lz", InvalidValueError), (3, InvalidTypeError)])
def test_other_names_are_refused_with_those_that_there_are(value, error):
    with pytest.raises(error, match=r"codec.*; use one of zstd, none"):
        parse_choice("codec", value, {"zstd": "zstd", "none": "no"})
