"""Checks of arguments: what passes, and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.runtime.arguments import check_choice, check_flag


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
