"""A block that is not as dask declared it is cast where nothing is lost, and an error otherwise."""

from __future__ import annotations

import re

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from atlas import AtlasError
from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError


def computed_as(function, declared, length=6, chunks=3):
    """A dask array that declares one dtype and computes what `function` makes of 0, 1, … in each block."""
    return da.map_blocks(function, da.arange(length, chunks=chunks), dtype=declared, meta=np.empty(0, declared))


WRONG_SHAPES = {
    "shorter": (lambda cells: cells[:2], (1,), r"\(0,\) with shape \(3,\).*shape \(2,\)"),
    "longer": (lambda cells: np.repeat(cells, 2), (1,), r"\(0,\) with shape \(3,\).*shape \(6,\)"),
    "of another rank": (lambda cells: cells[None], (1,), r"\(0,\) with shape \(3,\).*shape \(1, 3\)"),
    "reduced": (lambda cells: cells.sum(), (1,), r"\(0,\) with shape \(3,\).*shape \(\)"),
    "empty": (lambda cells: cells[:0], (1,), r"\(0,\) with shape \(3,\).*shape \(0,\)"),
}


@pytest.mark.parametrize("how", WRONG_SHAPES)
def test_a_block_of_another_shape_names_variable_block_and_both_shapes(store, how):
    function, _, words = WRONG_SHAPES[how]
    data = computed_as(function, "i8")
    with pytest.raises(InvalidValueError, match=f"variable 't': dask declared block {words}"):
        store.add_xr_dataset(xr.Dataset({"ok": ("y", [1]), "t": ("x", data)}), "a")
    assert list(store) == []


def test_only_the_last_block_is_wrong_and_nothing_is_stored(store):
    data = da.map_blocks(
        lambda cells, block_info: cells[: 3 - block_info[0]["chunk-location"][0]],
        da.arange(6, chunks=3),
        dtype="i8",
        meta=np.empty(0, "i8"),
    )
    with pytest.raises(InvalidValueError, match=r"block \(1,\)"):
        store.add_xr_dataset(xr.Dataset({"t": ("x", data)}), "a")
    assert list(store) == []


CASTS = {
    "f4 to f8": ("f8", lambda cells: cells.astype("f4") / 3),
    "f8 to f4, rounded": ("f4", lambda cells: cells / 3),
    "i4 to i8": ("i8", lambda cells: cells.astype("i4")),
    "i8 that fits to i4": ("i4", lambda cells: cells - 2),
    "integers to floats": ("f8", lambda cells: cells),
    "big-endian": ("f8", lambda cells: cells.astype(">f8")),
    "seconds to nanoseconds": ("M8[ns]", lambda cells: cells.astype("M8[s]")),
    "nanoseconds that are whole seconds": ("M8[s]", lambda cells: (cells * 10**9).astype("M8[ns]")),
    "durations": ("m8[ms]", lambda cells: cells.astype("m8[s]")),
}


@pytest.mark.parametrize("how", CASTS)
def test_a_block_of_a_dtype_that_casts_is_stored_as_declared(store, how):
    declared, function = CASTS[how]
    expected = np.concatenate([function(np.arange(0, 3)), function(np.arange(3, 6))]).astype(declared)
    store.add_xr_dataset(xr.Dataset({"t": ("x", computed_as(function, declared))}), "a")
    back = store.to_xarray("a")["t"]
    assert back.dtype == np.dtype(declared)
    np.testing.assert_array_equal(back.values, expected)


WRONG = {
    "floats for integers": ("i4", lambda cells: cells + 0.5, InvalidTypeError),
    "signed for unsigned": ("u1", lambda cells: cells - 1, InvalidTypeError),
    "text for numbers": ("f8", lambda cells: cells.astype("U"), InvalidTypeError),
    "dates for integers": ("i8", lambda cells: cells.astype("M8[ns]"), InvalidTypeError),
    "integers for dates": ("M8[ns]", lambda cells: cells, InvalidTypeError),
    "durations for dates": ("M8[ns]", lambda cells: cells.astype("m8[ns]"), InvalidTypeError),
    "integers for durations": ("m8[ns]", lambda cells: cells, InvalidTypeError),
    "an integer too large": ("i4", lambda cells: cells + 2**40, OutOfRangeError),
    "a float too large": ("f4", lambda cells: cells + 1e300, OutOfRangeError),
    "a fraction of a second": ("M8[s]", lambda cells: (cells + 1).astype("M8[ns]"), OutOfRangeError),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_block_of_a_dtype_that_does_not_cast_is_refused_and_the_advice_works(store, how):
    declared, function, kind = WRONG[how]
    ds = xr.Dataset({"t": ("x", computed_as(function, declared))})
    with pytest.raises(kind, match=r"variable 't': dask declared dtype .*block \(0,\) was computed as") as caught:
        store.add_xr_dataset(ds, "a")
    assert isinstance(caught.value, AtlasError)
    assert list(store) == []
    exec(re.search(r"use (ds\['t'\] = .*)$", str(caught.value))[1], {"ds": ds})
    store.add_xr_dataset(ds, "a")
    np.testing.assert_array_equal(store.to_xarray("a")["t"].values[:3], function(np.arange(3)))


def test_text_of_any_width_and_masked_blocks_pass(store):
    text = computed_as(lambda cells: cells.astype("U9"), "U1")
    masked = computed_as(lambda cells: np.ma.masked_equal(cells, 4), "i8")
    store.add_xr_dataset(xr.Dataset({"s": ("x", text), "m": ("x", masked, {"_FillValue": -1})}), "a")
    assert store["a"]["s"][...].tolist() == list("012345")
    assert store["a"]["m"][...].tolist() == [0, 1, 2, 3, -1, 5]


def put(*cells):
    """A function that computes objects for a block of three."""
    return lambda block: np.array([*cells, *map(str, block)][:3], object)


WRONG_TEXT = {
    "longer bytes": ("S1", lambda cells: np.where(cells == 4, b"abc", b"a"), [b"a"] * 4 + [b"abc", b"a"]),
    "a missing cell": (np.dtypes.StringDType(), put(None), [None, "0", "1", None, "3", "4"]),
    "missing bytes": ("S3", lambda cells: np.array([None, b"a", b"b"], object), [None, b"a", b"b"] * 2),
}


@pytest.mark.parametrize("how", WRONG_TEXT)
def test_text_that_the_declared_dtype_cannot_hold_is_refused_and_the_advice_works(store, how):
    declared, function, expected = WRONG_TEXT[how]
    ds = xr.Dataset({"t": ("x", computed_as(function, declared))})
    with pytest.raises(
        OutOfRangeError, match=r"variable 't': dask declared dtype .* a block was computed as"
    ) as caught:
        store.add_xr_dataset(ds, "a")
    assert list(store) == []
    exec(re.search(r"use (ds\['t'\] = .*)$", str(caught.value))[1], {"ds": ds})
    store.add_xr_dataset(ds, "a")
    assert store["a"]["t"][...].tolist() == expected


@pytest.mark.parametrize(
    ("declared", "function"),
    [
        (object, lambda cells: cells.astype("S2") if cells[0] else cells.astype("U2").astype(object)),
        ("S2", lambda cells: cells.astype("U2")),
        ("U2", lambda cells: cells.astype("S2")),
    ],
)
def test_a_block_of_bytes_in_text_is_refused(store, declared, function):
    with pytest.raises(InvalidTypeError, match=r"variable 't': an array of .* and one cell is"):
        store.add_xr_dataset(xr.Dataset({"t": ("x", computed_as(function, declared))}), "a")
    assert list(store) == []


def test_text_that_the_declared_dtype_holds_is_stored_as_declared(store):
    ds = xr.Dataset({"t": ("x", computed_as(lambda cells: cells.astype("S1"), "S3"))})
    store.add_xr_dataset(ds, "a")
    back = store.to_xarray("a")["t"]
    assert back.dtype == "S3"
    assert back.values.tolist() == [str(cell).encode() for cell in range(6)]
