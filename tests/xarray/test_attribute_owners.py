"""Which attribute belongs to which variable."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidValueError
from atlas.format.attributes import Timestamp
from atlas.xarray.attribute_owners import assign_attributes, check_attributes


def test_exact_keys_name_their_owner_and_plain_keys_go_to_the_longest_name():
    assigned = assign_attributes(
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
    assert assigned.variables == {"a": {"b.c": 2, "d": 5}, "a.b": {"c": 1, "d": 4}}
    assert assigned.dataset == {"a.b.c": 3, "b.d": 6, "gone.k": 7}
    assert assigned.dtypes == {"a": "datetime64[s]"}
    assert assigned.coords == ["a.b", "a"]


def test_strings_written_through_xarray_are_never_decoded():
    assigned = assign_attributes({("k",): "json:[1]", "j": "json:[1]", ("a", "k"): "json:[1]"}, ["a"])
    assert assigned.dataset == {"k": "json:[1]", "j": [1]}
    assert assigned.variables == {"a": {"k": "json:[1]"}}


def test_timestamps_are_shown_as_nanoseconds():
    assert assign_attributes({"k": Timestamp(5)}, []).dataset == {"k": 5}


def test_checked_values_are_copies():
    source = {"list": [1], "array": np.arange(2)}
    checked = check_attributes("dataset", source)
    source["list"].append(2)
    source["array"][0] = 9
    assert checked["list"] == [1]
    assert checked["array"].tolist() == [0, 1]


def test_errors_name_owner_and_attribute():
    with pytest.raises(InvalidValueError, match="variable 't', attribute 'k'"):
        check_attributes("variable 't'", {"k": object()})
