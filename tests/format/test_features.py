from __future__ import annotations

import json

import numpy as np
import pytest

from atlas.errors import CorruptStoreError, UnsupportedFormatError
from atlas.format.bases import BaseRef, link_from_json, link_to_json
from atlas.format.changes import Changes, PageRef, changes_from_json, changes_to_json, page_from_json, page_to_json
from atlas.format.dataset_columns import ArrayEntry, AttributeTable, RowBatch
from atlas.format.dtypes import DATATYPES
from atlas.format.features import check_features, features_of
from atlas.format.schema import make_schema

FIRST = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
    "timestamp_nanoseconds", "string",
)  # fmt: skip
LATER = [name for name in DATATYPES if name not in FIRST]


def rows(*dtypes):
    layout = tuple(ArrayEntry(f"a{at}", make_schema(dtype, [], []), 0) for at, dtype in enumerate(dtypes))
    zero = np.zeros(1, np.int64)
    return RowBatch(zero, ["d"], zero, zero, zero, [layout], AttributeTable([()], [], [[0]], [[0]]))


def document(kind, *dtypes):
    if kind == "page":
        return page_to_json(rows(*dtypes))
    return json.loads(json.dumps(changes_to_json(kind, Changes(3, 1, rows=rows(*dtypes), writers=((3, "w"),)))))


def read(kind, found):
    return page_from_json(found, PageRef("pages/p", 1, 0, 0)) if kind == "page" else changes_from_json(kind, found)


KINDS = ["commit", "checkpoint", "page"]


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_the_first_dtypes_have_no_features(kind):
    assert "features" not in document(kind, *FIRST)
    assert features_of(FIRST) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_names_the_later_dtypes_that_it_declares_once_each_and_sorted(kind):
    found = document(kind, "timedelta64[us]", "int8", "bool", "bool", "string", "datetime64[s]")
    assert found["features"] == ["dtype:bool", "dtype:datetime64[s]", "dtype:timedelta64[us]"]
    read(kind, found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_later_dtype_is_a_feature_and_read_back(kind):
    found = document(kind, *LATER)
    assert found["features"] == sorted(f"dtype:{name}" for name in LATER)
    back = read(kind, found)
    layout = (back if kind == "page" else back.rows).layout_table[0]
    assert [entry.schema.datatype.name for entry in layout] == LATER


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unknown", ["dtype:complex64", "filter:wavelet", "field:expires", ""])
def test_an_unknown_feature_is_refused_by_name_and_is_no_damage(kind, unknown):
    found = document(kind, "bool")
    # What the feature is needed for reads as damage without it.
    found["rows"]["schema_table"][0]["dtype"] = "complex64"
    found["features"].append(unknown)
    with pytest.raises(UnsupportedFormatError) as caught:
        read(kind, found)
    assert str(caught.value) == (
        f"it needs the feature {unknown!r}, which this version does not know; install a later version of atlas-store"
    )


def test_several_unknown_features_are_all_named():
    with pytest.raises(UnsupportedFormatError, match="needs the features 'dtype:a', 'filter:b', which"):
        check_features({"features": ["filter:b", "dtype:bool", "dtype:a"]})


def test_a_link_may_need_a_feature_too():
    link = link_to_json(BaseRef(4, "bases/x"), "s") | {"features": ["field:shape"]}
    with pytest.raises(UnsupportedFormatError, match="'field:shape'"):
        link_from_json(link, "s", 0)


@pytest.mark.parametrize(
    "features", ["dtype:bool", {"dtype:bool": 1}, [1], [None], None, [["dtype:bool"]], ["a"] * 1001]
)
def test_features_that_are_no_list_of_names_are_damage(features):
    with pytest.raises(CorruptStoreError, match="'features' is not a list of names"):
        check_features({"features": features})


def test_an_unknown_dtype_without_its_feature_is_damage():
    found = document("commit", "int8")
    found["rows"]["schema_table"][0]["dtype"] = "complex64"
    with pytest.raises(CorruptStoreError, match="unknown dtype 'complex64'"):
        read("commit", found)
