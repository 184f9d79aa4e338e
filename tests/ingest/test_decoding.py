"""Decoding variables of a file: as xarray, but where cells would change what they mean."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidValueError
from atlas.ingest.decoding import UndecodedError, decode, unify_missing
from atlas.xarray import LoadedVariable

FLOATS = st.sampled_from(["f4", "f8"])
NUMBERS = st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "f4", "f8"])
UNITS = st.sampled_from(
    ["days since 1950-01-01", "hours since 2000-01-01 12:00", "seconds since 1970-01-01T00:00:00Z", "K", "days"]
)
CALENDARS = st.sampled_from(["standard", "gregorian", "proleptic_gregorian", "noleap", "360_day", "Standard", "julian"])


@st.composite
def variables(draw):
    """A variable of numbers as it is in a file, with attributes that decoders know."""
    dtype = np.dtype(draw(NUMBERS))
    whole = st.integers(0, 100)
    value = whole if dtype.kind in "iu" else st.one_of(whole, st.sampled_from([0.1, 27_000.3, 1e5, np.nan, np.inf]))
    cells = np.array(draw(st.lists(value, max_size=6)), dtype)
    if draw(st.booleans()):
        cells = np.array(draw(value), dtype)
    attrs = {}
    if draw(st.booleans()):
        attrs["_FillValue"] = dtype.type(draw(st.sampled_from([1, 7, 99])))
    if dtype.kind == "f" and draw(st.booleans()):
        attrs["_FillValue"] = dtype.type(np.nan)
    if draw(st.booleans()):
        attrs["units"] = draw(UNITS)
    if draw(st.booleans()):
        attrs["calendar"] = draw(CALENDARS)
    if draw(st.integers(0, 4)) == 0:
        attrs |= {"scale_factor": 0.5, "add_offset": np.float32(3)}
    if draw(st.integers(0, 4)) == 0:
        attrs["missing_value"] = dtype.type(3)
    if draw(st.integers(0, 4)) == 0:
        attrs["dtype"] = "bool"
    if draw(st.integers(0, 4)) == 0:
        attrs["coordinates"] = "lat lon none"
    return xr.Variable(("x",)[: cells.ndim], cells, attrs, {"dtype": dtype})


def keeps_integers(variable):
    return variable.dtype == np.int64 and not {"_FillValue", "missing_value"}.isdisjoint(variable.attrs)


def fresh(given_variables):
    return {name: variable.copy() for name, variable in given_variables.items()}


def loaded(variable):
    """A variable as the process that reads has it."""
    return LoadedVariable(variable.dims, variable.values, variable.attrs, variable.encoding)


def as_xarray(variable):
    return variable.to_variable() if isinstance(variable, LoadedVariable) else variable.load()


@given(st.lists(variables(), min_size=1, max_size=4), st.booleans(), st.booleans(), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_plain_variables_are_as_xarray_decodes_them(found, raw, together, are_loaded):
    """`together`: a variable that xarray decodes is among them, which must change none of the others."""
    variables = dict(zip(["lat", "b", "c", "d"], found, strict=False))
    if together:
        variables["e"] = xr.Variable("y", np.array([1, 2], "i2"), {"scale_factor": 0.1}, {"dtype": np.dtype("i2")})
    if not raw and any(keeps_integers(variable) for variable in found):
        return
    options = {"mask_and_scale": not raw, "decode_times": not raw, "decode_coords": not raw, "decode_timedelta": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected, attrs, coords = xr.conventions.decode_cf_variables(fresh(variables), {"a": 1}, **options)
            expected = {name: variable.load() for name, variable in expected.items()}
        except (ValueError, OverflowError, TypeError):
            return  # dates out of range, see test_reading
        own = {name: loaded(variable) if are_loaded else variable for name, variable in fresh(variables).items()}
        decoded = decode(own, {"a": 1}, (), variables.keys(), (), (), raw=raw)
    assert decoded.attrs == attrs
    assert decoded.coords == coords & variables.keys()
    for name, variable in expected.items():
        own = as_xarray(decoded.variables[name])
        xr.testing.assert_identical(own, variable)
        assert own.dtype == variable.dtype
        assert {k: (type(v), repr(v)) for k, v in own.encoding.items()} == {
            k: (type(v), repr(v)) for k, v in variable.encoding.items()
        }


class TestIntegers:
    """Floats hold integers up to 2**53."""

    CELLS = np.array([2**53 + 1, -(2**62) - 1, 7, 9])

    def decoded(self, attrs, cells=CELLS):
        variable = xr.Variable("x", cells.copy(), dict(attrs), {"dtype": cells.dtype})
        return decode({"v": variable}, {}, (), ("v",), (), (), raw=False).variables["v"].load()

    @pytest.mark.parametrize("attrs", [{"_FillValue": np.int64(7)}, {"missing_value": np.int64(7)}])
    def test_of_64_bits_stay_integers_with_their_fill(self, attrs):
        found = self.decoded(attrs)
        assert found.dtype == np.int64
        assert found.values.tolist() == self.CELLS.tolist()
        assert found.attrs["_FillValue"] == 7

    def test_with_two_fills_have_one(self):
        found = self.decoded({"_FillValue": np.int64(7), "missing_value": np.int64(9)})
        assert unify_missing(found.values, found).tolist() == [*self.CELLS[:2].tolist(), 7, 7]
        assert found.attrs == {"_FillValue": 7, "missing_value": 9}

    def test_of_fewer_bits_become_floats_which_hold_them(self):
        found = self.decoded({"_FillValue": np.int32(7)}, np.array([2**31 - 1, 7], "i4"))
        np.testing.assert_array_equal(found.values, [2.0**31 - 1, np.nan])
        assert found.dtype == np.float64

    def test_dates_and_packed_ones_are_decoded(self):
        found = self.decoded({"_FillValue": np.int64(7), "units": "days since 2000-01-01"}, np.array([0, 7]))
        np.testing.assert_array_equal(found.values, np.array(["2000-01-01", "NaT"], "M8[ns]"))
        found = self.decoded({"_FillValue": np.int64(7), "scale_factor": 0.5}, np.array([3, 7]))
        np.testing.assert_array_equal(found.values, [1.5, np.nan])


JOINED = {"_FillValue": b" ", "char_dim_name": "length"}


class TestBlankText:
    def test_is_missing_where_all_of_it_is_the_fill_value(self):
        cells = np.array([[b"ab  ", b"    "], [b"", None]], object)
        found = unify_missing(cells, xr.Variable(("y", "x"), cells, {}, JOINED))
        assert found.tolist() == [[b"ab  ", None], [b"", None]]
        cells = np.array(["--x", "---"])
        found = unify_missing(cells, xr.Variable("x", cells, {}, JOINED | {"_FillValue": b"-"}))
        assert found.tolist() == ["--x", None]

    @pytest.mark.parametrize("encoding", [{"_FillValue": b" "}, {"char_dim_name": "n"}, JOINED | {"_FillValue": " "}])
    def test_of_other_variables_stays(self, encoding):
        cells = np.array(["  ", "a"])
        assert unify_missing(cells, xr.Variable("x", cells, {}, encoding)) is cells


def test_a_variable_without_dimensions_may_not_have_the_name_of_one():
    both = {"x": xr.Variable((), 1.0), "t": xr.Variable("x", [1.0, 2.0])}
    with pytest.raises(InvalidValueError, match=r"'x' cannot be read: it has no dimension, and .*drop=\['x'\]"):
        decode(both, {}, (), both.keys(), (), (), raw=False)


def test_dates_that_cannot_be_decoded_are_named_unless_they_are_kept():
    def both():
        return {
            "ok": xr.Variable("x", [1.0], {"units": "days since 2000-01-01"}),
            "bad": xr.Variable("x", [1.0], {"units": "days since then"}),
        }

    with pytest.raises(UndecodedError) as caught:
        decode(both(), {}, (), ("ok", "bad"), (), (), raw=False)
    assert (caught.value.variable, caught.value.reason[:27]) == ("bad", "unable to decode time units")
    found = decode(both(), {}, (), ("ok", "bad"), ("bad",), (), raw=False)
    assert found.variables["bad"].load().values.tolist() == [1]
    assert found.variables["ok"].dtype == "M8[ns]"
