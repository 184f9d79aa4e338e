"""Times in any unit to stored nanoseconds and back: exact or an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidValueError, OutOfRangeError
from atlas.xarray.recorded_dtypes import decode_recorded, decoded_dtype
from atlas.xarray.time_encoding import encode_times, time_dtype_to_record

NS = {"D": 86_400 * 10**9, "h": 3_600 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
NAT = -(2**63)


@given(st.sampled_from("mM"), st.sampled_from(sorted(NS)), st.lists(st.integers(NAT, 2**63 - 1)), st.sampled_from("<>"))
def test_exact_or_out_of_range(kind, unit, ticks, order):
    cells = np.array(ticks, "i8").view(f"{kind}8[{unit}]")
    wanted = [tick if tick == NAT else tick * NS[unit] for tick in ticks]
    stored = cells.astype(cells.dtype.newbyteorder(order))
    if any(abs(ns) > 2**63 - 1 for tick, ns in zip(ticks, wanted, strict=True) if tick != NAT):
        with pytest.raises(OutOfRangeError, match="'t'"):
            encode_times("t", stored)
        return
    ns = encode_times("t", stored)
    assert ns.dtype == f"{kind}8[ns]"
    assert ns.view(np.int64).tolist() == wanted
    restored = decode_recorded("t", ns, cells.dtype.name)
    assert restored.dtype == cells.dtype
    assert restored.view(np.int64).tolist() == ticks


def test_fractions_of_nanoseconds_are_refused():
    assert encode_times("t", np.array([5000, NAT], "i8").view("M8[ps]")).view("i8").tolist() == [5, NAT]
    with pytest.raises(InvalidValueError, match="'t'"):
        encode_times("t", np.array([5001], "i8").view("M8[ps]"))


@pytest.mark.parametrize("order", "<>")
def test_the_first_cell_out_of_range_is_named(order):
    days = np.array([[0, NAT, 10**6], [200_000, 300_000, 10**17]], f"{order}i8").view(f"{order}M8[D]")
    with pytest.raises(OutOfRangeError, match="'t': 4707-11-29 is beyond"):
        encode_times("t", days)
    with pytest.raises(OutOfRangeError, match=r"'t': 2517-08-01 is beyond .* either way from 1970; .*'M8\[s\]'"):
        encode_times("t", days[1:])
    with pytest.raises(OutOfRangeError, match=r"'t': 200000 days is beyond .* either way; .*'m8\[s\]'"):
        encode_times("t", days[1:].view(f"{order}m8[D]"))


@pytest.mark.parametrize("kind", "mM")
def test_the_least_of_a_finer_unit_is_no_whole_nanosecond(kind):
    # Its nanosecond, rounded down, is out of range of the unit itself.
    with pytest.raises(InvalidValueError, match=r"'t': .* is finer than a nanosecond"):
        encode_times("t", np.array([0, NAT + 1], "i8").view(f"{kind}8[as]"))


def test_scalars_keep_their_shape():
    assert encode_times("t", np.array(5, "m8[s]")).shape == ()
    assert decode_recorded("t", np.array(5 * 10**9, "m8[ns]"), "timedelta64[s]").shape == ()


def test_decoding_to_a_unit_too_coarse_is_refused():
    with pytest.raises(InvalidValueError, match="'t'"):
        decode_recorded("t", np.array([10**9 + 1], "m8[ns]"), "timedelta64[s]")


@pytest.mark.parametrize("xarray_dtype", ["timedelta64[as]", "datetime64[as]"])
def test_restoring_to_a_unit_too_fine_is_refused(xarray_dtype):
    stored = np.array([NAT, 9 * 10**9]).view(f"{np.dtype(xarray_dtype).kind}8[ns]")
    assert decode_recorded("t", stored, xarray_dtype).view("i8").tolist() == [NAT, 9 * 10**18]
    stored[:] = [0, 10**10]
    with pytest.raises(InvalidValueError, match="'t'"):
        decode_recorded("t", stored, xarray_dtype)


@pytest.mark.parametrize(
    ("dtype", "stored", "recorded"),
    [
        ("M8[ns]", "timestamp_nanoseconds", None),
        ("M8[s]", "datetime64[s]", None),
        (">M8[ms]", "datetime64[ms]", None),
        ("m8[ns]", "timedelta64[ns]", None),
        ("M8[D]", "timestamp_nanoseconds", "datetime64[D]"),
        (">M8[25s]", "timestamp_nanoseconds", "datetime64[25s]"),
        ("m8[h]", "timedelta64[ns]", "timedelta64[h]"),
        ("f4", "float32", None),
    ],
)
def test_recorded_dtypes(dtype, stored, recorded):
    assert time_dtype_to_record(np.dtype(dtype)) == recorded
    if recorded is not None:
        assert decoded_dtype(recorded, stored) == np.dtype(dtype).newbyteorder("=")
        assert decoded_dtype(recorded, "int8") is None
