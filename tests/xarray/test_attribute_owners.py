"""Which attribute belongs to which variable."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidNameError, InvalidValueError
from atlas.format.attributes import Timestamp, decode_value
from atlas.xarray.attribute_owners import assign_attributes, check_owners, encode_attributes


def test_every_key_goes_to_the_longest_name():
    assigned = assign_attributes(
        {
            ("a.b", "c"): 1,
            ("a", "b"): 2,
            ("a", "b.e"): 3,
            ("a.k",): 4,
            "a.b.d": 5,
            "a.d": 6,
            "b.d": 7,
            ("gone", "k"): 8,
            ("a", "_atlas_dtype"): "datetime64[s]",
            ("a", "_atlas_fill"): None,
            ("gone", "_atlas_fill"): 9,
            "_pyatlas_coords": '["a.b", "a", 5, "gone"]',
        },
        ["a", "a.b"],
    )
    assert assigned.variables == {"a": {"b": 2, "k": 4, "d": 6}, "a.b": {"c": 1, "e": 3, "d": 5}}
    assert assigned.dataset == {"b.d": 7, "gone.k": 8}
    assert assigned.dtypes == {"a": "datetime64[s]"}
    assert assigned.fills == {"a": None}
    assert assigned.coords == ["a.b", "a"]


def test_strings_written_through_xarray_are_never_decoded():
    assigned = assign_attributes({("k",): "json:[1]", "j": "json:[1]", ("a", "k"): "json:[1]"}, ["a"])
    assert assigned.dataset == {"k": "json:[1]", "j": [1]}
    assert assigned.variables == {"a": {"k": "json:[1]"}}


def test_timestamps_are_shown_as_nanoseconds():
    assert assign_attributes({"k": Timestamp(5)}, []).dataset == {"k": 5}


def test_encoded_values_are_copies():
    source = {"list": [1], "array": np.arange(2)}
    encoded = encode_attributes("dataset", source)
    source["list"].append(2)
    source["array"][0] = 9
    assert decode_value(encoded["list"]) == [1]
    assert decode_value(encoded["array"]).tolist() == [0, 1]


def test_errors_name_owner_and_attribute():
    with pytest.raises(InvalidValueError, match="variable 't', attribute 'k'"):
        encode_attributes("variable 't'", {"k": object()})


@pytest.mark.parametrize("key", ["_atlas_dtype", "_atlas_fill", "a._atlas_indexes", "_pyatlas_coords"])
def test_reserved_names_are_refused(key):
    with pytest.raises(InvalidNameError, match="reserved"):
        encode_attributes("dataset", {key: 1})


def test_owners_are_checked_by_the_name_in_the_dataset():
    check_owners({None: {"a": 1, "b.c": 2}, "a": {"b": 1, "x.y": 2}, "a.b": {"c": 1}}, ["a", "a.b"])
    with pytest.raises(InvalidNameError, match=r"ds\.attrs\['a_c_'\] = ds\.attrs\.pop\('a\.c'\)$"):
        check_owners({None: {"a_c": 1, "a.c": 2}}, ["a"])
