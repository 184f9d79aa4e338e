"""Whose attribute is whose."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidValueError
from atlas.format.attributes import Timestamp
from atlas.xarray.attrs import checked_attributes, sort_attributes


def test_exact_keys_say_their_owner_and_plain_ones_go_by_the_longest_name():
    sorted_ = sort_attributes(
        {
            ("a.b", "c"): 1,
            ("a", "b.c"): 2,
            ("a.b.c",): 3,
            "a.b.d": 4,
            "a.d": 5,
            "b.d": 6,
            ("gone", "k"): 7,
            ("a", "_atlas_dtype"): "datetime64[s]",
            "_pyatlas_coords": '["a.b", "a", 5, "gone"]',
        },
        ["a", "a.b"],
    )
    assert sorted_.variables == {"a": {"b.c": 2, "d": 5}, "a.b": {"c": 1, "d": 4}}
    assert sorted_.dataset == {"a.b.c": 3, "b.d": 6, "gone.k": 7}
    assert sorted_.markers == {"a": "datetime64[s]"}
    assert sorted_.coords == ["a.b", "a"]


def test_text_of_xarray_is_never_decoded():
    sorted_ = sort_attributes({("k",): "json:[1]", "j": "json:[1]", ("a", "k"): "json:[1]"}, ["a"])
    assert sorted_.dataset == {"k": "json:[1]", "j": [1]}
    assert sorted_.variables == {"a": {"k": "json:[1]"}}


def test_timestamps_are_shown_as_nanoseconds():
    assert sort_attributes({"k": Timestamp(5)}, []).dataset == {"k": 5}


def test_checked_values_are_copies():
    source = {"list": [1], "array": np.arange(2)}
    checked = checked_attributes("dataset", source)
    source["list"].append(2)
    source["array"][0] = 9
    assert checked["list"] == [1]
    assert checked["array"].tolist() == [0, 1]


def test_refusals_name_owner_and_attribute():
    with pytest.raises(InvalidValueError, match="variable 't', attribute 'k'"):
        checked_attributes("variable 't'", {"k": object()})
