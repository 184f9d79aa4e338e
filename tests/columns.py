"""Compares the columns of metadata with loops over the calls for one dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.format.attribute_keys import ArrayPrefixes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas import Atlas

__all__ = ["attributes_one_by_one", "check_attributes", "check_statistics"]

_MISSING = {"b": False, "i": 0, "u": 0, "f": np.nan}


def check_statistics(store: Atlas, array: str, names: Sequence[str] | None = None) -> None:
    """Check that `array_stats_across` says what `ArrayView.stats` says of each dataset, down to types and units."""
    found = store.array_stats_across(array, names)
    assert found.names == (store.list_datasets() if names is None else list(names))
    for at, name in enumerate(found.names):
        there = name in store and array in store[name]
        stats = store[name][array].stats if there else None
        assert bool(found.present[at]) is (stats is not None), name
        counts = [int(column[at]) for column in (found.row_count, found.null_count, found.nan_count)]
        if stats is None:
            assert counts == [0, 0, 0]
            stats = {"min": None, "max": None}
        else:
            assert counts == [stats["row_count"], stats["null_count"], stats["nan_count"]], name
        assert bool(found.has_extremes[at]) is (stats["min"] is not None), name
        for column, expected in ((found.min, stats["min"]), (found.max, stats["max"])):
            _check_extreme(column, at, expected, store[name][array].dtype if there else None)


def _check_extreme(column: np.ndarray, at: int, expected: Any, dtype: np.dtype | None) -> None:
    value = column[at]
    if expected is None:
        assert _is_missing(column, at)
        return
    assert dtype is not None
    if dtype.kind in "mM":
        assert value.dtype == dtype
        assert int(value.astype(np.int64)) == expected
        return
    if column.dtype.kind != "O":
        value = value.item()
    assert type(value) is type(expected)
    assert repr(value) == repr(expected)


def _is_missing(column: np.ndarray, at: int) -> bool:
    if column.dtype.kind == "O":
        return column[at] is None
    if column.dtype.kind in "mM":
        return bool(np.isnat(column[at]))
    return np.array_equal(column[at], _MISSING[column.dtype.kind], equal_nan=True)


def attributes_one_by_one(store: Atlas, names: Sequence[str], array: str | None = None) -> list[dict[str, Any]]:
    """The attributes of each dataset, or of an array of it, by calls for one dataset; none where there is none."""
    found = []
    for name in names:
        shown = store[name].attributes() if name in store else {}
        if array is not None:
            arrays = store[name].list_arrays() if name in store else []
            owned = ((ArrayPrefixes(arrays).split(text), value) for text, value in shown.items())
            shown = {key: value for (owner, key), value in owned if owner == array}
        found.append(shown)
    return found


def check_attributes(store: Atlas, names: Sequence[str] | None = None, array: str | None = None) -> None:
    """Check that `attributes_across` says what `DatasetView.attributes` says of each dataset."""
    wanted = store.list_datasets() if names is None else list(names)
    loop = attributes_one_by_one(store, wanted, array)
    columns = store.attributes_across(names, array=array)
    assert list(columns) == list(dict.fromkeys(key for shown in loop for key in shown))
    for key, column in columns.items():
        assert column.present.tolist() == [key in shown for shown in loop]
        assert len(column.values) == len(wanted)
        for at, shown in enumerate(loop):
            if key not in shown:
                assert _is_missing(column.values, at)
                continue
            value = column.values[at]
            if column.values.dtype.kind in "mM":
                value = int(value.astype(f"{column.values.dtype.kind}8[ns]").astype(np.int64))
            elif column.values.dtype.kind != "O":
                value = value.item()
            assert type(value) is type(shown[key]), (key, value, shown[key])
            assert repr(value) == repr(shown[key])
        kinds = {type(shown[key]) for shown in loop if key in shown}
        if column.values.dtype.kind == "O" and len(kinds) == 1:
            # Whole numbers are objects only where 64 bits do not hold them, or times are among them.
            assert not kinds <= {bool, float}
    for key in list(columns)[:2]:
        (alone,) = store.attributes_across(names, [key], array).values()
        assert alone.values.dtype == columns[key].values.dtype
        assert repr(alone.values.tolist()) == repr(columns[key].values.tolist())
