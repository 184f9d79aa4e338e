"""Whatever a public call is given, it returns or raises an `AtlasError`, and a call that raised left no trace."""

from __future__ import annotations

import contextlib
import datetime as dt
import inspect
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas import ArrayView, Atlas, AtlasError, Attributes, DatasetView, Limits
from atlas.storage import MemoryStorage

POOL = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**63) - 1, 10**400, 0.0, 1.5, float("nan"), float("inf"), 1j,
    Decimal("1.5"), Fraction(1, 3), "", "d", "t", "s", "gone", "a/b", "_x", ".", "..", "\0", "\ud800", "ü" * 5000,
    "zstd", "r", "float32", "i8", b"", b"\xff", [], [0], [1, 2], [[1], [1, 2]], ["d"], ["d", "d"], ["gone"], [None],
    [1.5], ["t", 1], (), (0,), (0, 1, 2), (None,), {}, {"t": [1]}, {"x": 2}, {"gone": 1}, {1: 2}, set(), {"d"},
    frozenset(), range(2), slice(None), slice(5, 1, -1), slice(0, 1, 0), slice("a"), Ellipsis,
    (Ellipsis, Ellipsis), iter([1]), object(), object, int, len, print, Path(), Path("gone"),
    dt.datetime(2000, 1, 1), dt.date(2000, 1, 1), dt.timedelta(1), pd.Timestamp("2000", tz="UTC"), pd.NaT, pd.NA,
    pd.Series([1, 2]), pd.Index(["a"]), np.float32(1), np.int8(-1), np.uint64(2**64 - 1), np.bool_(1), np.str_("d"),
    np.bytes_(b"a"), np.datetime64("NaT", "ns"), np.datetime64("2000"), np.datetime64(2**62, "Y"),
    np.timedelta64(1, "s"), np.void(b"ab"), np.zeros(0), np.zeros(3), np.zeros((2, 3), "f4"), np.zeros((), "i8"),
    np.arange(3), np.array([True, False, True]), np.array(["a", "b"]), np.array([b"a"]), np.array([None, 1], object),
    np.array(["2000"], "M8[D]"), np.zeros(2, "c8"), np.zeros(2, [("a", "i4")]), np.zeros(2, "V3"),
    np.zeros(2, "m8[Y]"), np.ma.masked_all(3), np.zeros(3)[::-1],
    np.dtype("c16"), np.dtype("M8"), np.float16, xr.Dataset(), xr.Dataset({"t": ("x", [1.0])}),
    xr.Dataset({"t": ("x", [1j])}), xr.Dataset({1: ("x", [1])}), xr.Dataset({"a/b": ("x", [1])}),
    xr.Dataset({"t": ("x", [object()])}), xr.Dataset(attrs={"k": object()}), xr.DataArray([1]), Limits(), atlas,
    AtlasError,
]  # fmt: skip
OUT_OF_REACH = {"verify", "init_tracing", "close", "describe", "history", "refresh", "flush"}
"""Calls that have no argument of interest, or that change the process."""


def calls(kind):
    for name, function in inspect.getmembers(kind, inspect.isfunction):
        if (
            name in vars(kind)
            and name not in OUT_OF_REACH
            and (not name.startswith("_") or name in {"__getitem__", "__setitem__", "__delitem__"})
        ):
            parameters = list(inspect.signature(function).parameters.values())[1:]
            named = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
            yield kind, name, len(parameters) - len(named), named


CALLS = [call for kind in (Atlas, DatasetView, ArrayView, Attributes) for call in calls(kind)]


def make_store():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        view = store.create_dataset("d")
        view.define_array("t", "float32", ["x", "y"], [2, 3], [1, 2], -1.0)
        view.define_array("s", "string", ["x"], [2])
        view.define_array("when", "datetime64[s]", ["x"], [2])
        view["t"][...] = [[1, 2, 3], [4, 5, 6]]
        view["s"][...] = ["a", "b"]
        view.set_attribute("k", 1)
    return storage


def contents(store):
    return {
        name: (
            store[name].attributes(),
            {array: (store[name].array_meta(array), store[name][array][...].tolist()) for array in store[name]},
        )
        for name in store
    }


SHARED = make_store()
CONTENTS = contents(Atlas.open(SHARED))


@settings(max_examples=2000)
@given(st.sampled_from(CALLS), st.data())
def test_a_call_with_any_arguments_returns_or_raises_an_error_of_the_family(call, data):
    kind, name, count, named = call
    store = Atlas.open(make_store() if name in {"compact", "rollback"} else SHARED)
    view = store["d"]
    owner = {Atlas: store, DatasetView: view, Attributes: view.attrs}.get(kind)
    if owner is None:
        owner = view[data.draw(st.sampled_from(["t", "s", "when"]))]
    arguments = [POOL[data.draw(st.integers(0, len(POOL) - 1))] for _ in range(count)]
    options = {key: POOL[data.draw(st.integers(0, len(POOL) - 1))] for key in named if data.draw(st.booleans())}
    try:
        getattr(owner, name)(*arguments, **options)
    except AtlasError:
        assert contents(store) == CONTENTS


@settings(max_examples=500)
@given(data=st.data())
def test_what_makes_and_opens_a_store_returns_or_raises_an_error_of_the_family(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    pool = [value for value in POOL if not isinstance(value, str | Path) or str(value) in {"", "\0", "zstd"}]
    pool[pool.index("zstd")] = str(folder / "bad inputs")

    def value():
        return pool[data.draw(st.integers(0, len(pool) - 1))]

    for make in (Atlas.create, Atlas.open):
        options = [name for name, parameter in inspect.signature(make).parameters.items() if name != "source"]
        chosen = data.draw(st.lists(st.sampled_from(options), max_size=2, unique=True))
        source = data.draw(st.sampled_from([SHARED if make == Atlas.open else MemoryStorage(), None]))
        with contextlib.suppress(AtlasError):
            make(value() if source is None else source, **{name: value() for name in chosen})
