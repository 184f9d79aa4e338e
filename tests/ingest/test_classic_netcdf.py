"""The length that a classic NetCDF file must have, against files that the C library writes."""

from __future__ import annotations

import re
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import netCDF4
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atlas.errors import InvalidValueError
from atlas.ingest.classic_netcdf import check_length

CLASSIC = {"NETCDF3_CLASSIC": b"CDF\x01", "NETCDF3_64BIT_OFFSET": b"CDF\x02", "NETCDF3_64BIT_DATA": b"CDF\x05"}
OLD_TYPES = ("i1", "S1", "i2", "i4", "f4", "f8")
ALL_TYPES = (*OLD_TYPES, "u1", "u2", "u4", "i8", "u8")
LENGTHS = {"x": 3, "y": 2, "one": 1}
SAID = re.compile(
    r"a\.nc (is a classic NetCDF file whose header is cut short or damaged; fetch it again"
    r"|has [\d,]+ bytes and its header says [\d,]+: it was cut short, and what is missing would read as zeros; fetch "
    r"it again"
    r"|does not say how many records it has, as while it is being written: add it once it is closed)"
)


def value(kind):
    """A value of which no byte is 0."""
    return np.frombuffer(b"A" * np.dtype(kind).itemsize, kind)[0]


def write(path, form, variables, *, records=0, attributes=()):
    """Write a file whose values have no byte that is 0, and between which there are only zeros.

    `variables` are pairs of dtype and dimensions, of which "time" is that of records. The file and the first variable
    have the attributes.
    """
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.set_fill_off()
        file.createDimension("time", None)
        for name, length in LENGTHS.items():
            file.createDimension(name, length)
        made = [file.createVariable(f"v{number}", *variable) for number, variable in enumerate(variables)]
        for owner in (file, *made[:1]):
            owner.setncatts({f"a{number}": given for number, given in enumerate(attributes)})
        for variable in made:
            shape = [LENGTHS.get(dim, records) for dim in variable.dimensions]
            variable.set_auto_chartostring(False)
            if 0 not in shape:
                variable[:] = np.full(shape, value(variable.dtype))


def wanted_length(raw, variables, records):
    """Bytes up to the end of the last value, or of the header where there are no values."""
    has_values = any(dims[:1] != ("time",) or records for _, dims in variables)
    return len(raw.rstrip(b"\0")) if has_values else len(raw)


def check(path):
    """Check the length of a file."""
    with path.open("rb") as file:
        check_length(path.name, file)


@pytest.fixture
def cut_file(tmp_path):
    """A function that writes bytes to the file a.nc and checks its length."""

    def check_bytes(raw):
        (tmp_path / "a.nc").write_bytes(raw)
        check(tmp_path / "a.nc")

    return check_bytes


def is_refused(path, raw=None):
    """Whether the length of a file, of these bytes, is refused, in words that one can read."""
    if raw is not None:
        path.write_bytes(raw)
    refusal = None
    try:
        check(path)
    except InvalidValueError as error:
        refusal = str(error)
    assert refusal is None or SAID.fullmatch(refusal)
    return refusal is not None


def variables_of(types):
    inner = st.lists(st.sampled_from(sorted(LENGTHS)), max_size=2)
    dims = st.builds(lambda record, inner: ("time",) * record + tuple(inner), st.booleans(), inner)
    return st.lists(st.tuples(st.sampled_from(types), dims), max_size=4)


def attributes_of(types):
    arrays = st.builds(
        lambda kind, length: np.full(length, value(kind)),
        st.sampled_from([kind for kind in types if kind != "S1"]),
        st.integers(1, 5),
    )
    return st.lists(arrays | st.text("abc ü", max_size=9), max_size=3)


@st.composite
def contents(draw):
    form = draw(st.sampled_from(sorted(CLASSIC)))
    types = ALL_TYPES if form == "NETCDF3_64BIT_DATA" else OLD_TYPES
    return form, draw(variables_of(types)), draw(st.integers(0, 3)), draw(attributes_of(types))


@given(contents(), st.lists(st.floats(0, 1), max_size=8))
@example(("NETCDF3_CLASSIC", [("i1", ("time",))], 3, []), [])  # of one variable, records are not filled up
@example(("NETCDF3_CLASSIC", [("i2", ("time", "x"))], 3, []), [])
@example(("NETCDF3_CLASSIC", [("i1", ("time",)), ("i2", ("time", "x"))], 3, []), [])
@example(("NETCDF3_64BIT_DATA", [("u2", ("time", "x")), ("u1", ("x",))], 2, []), [])
@example(("NETCDF3_64BIT_OFFSET", [("f8", ())], 0, ["text", np.ones(3, "i2")]), [])
@example(("NETCDF3_CLASSIC", [], 0, []), [])
def test_every_file_passes_whole_and_none_that_lacks_a_byte_of_a_value(made, cuts):
    form, variables, records, attributes = made
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.nc"
        write(path, form, variables, records=records, attributes=attributes)
        check(path)
        raw = path.read_bytes()
        assert raw[:4] == CLASSIC[form]
        wanted = wanted_length(raw, variables, records)
        assert not is_refused(path, raw[:wanted])
        for cut in {4, 7, wanted // 2, wanted - 8, wanted - 1, *(int(4 + cut * (wanted - 5)) for cut in cuts)}:
            assert is_refused(path, raw[: max(cut, 4)]), cut


@pytest.mark.parametrize("form", sorted(CLASSIC))
@pytest.mark.parametrize("records", [0, 1, 3])
def test_a_file_may_be_cut_nowhere(tmp_path, form, records):
    types = ALL_TYPES if form == "NETCDF3_64BIT_DATA" else OLD_TYPES
    variables = [(kind, dims) for kind in types for dims in ((), ("time", "x"))]
    attributes = ["long name", *(np.full(3, value(kind)) for kind in types if kind != "S1")]
    write(tmp_path / "a.nc", form, variables, records=records, attributes=attributes)
    raw = (tmp_path / "a.nc").read_bytes()
    wanted = wanted_length(raw, variables, records)
    for cut in (*range(4, wanted - 40, 5), *range(wanted - 40, wanted)):
        assert is_refused(tmp_path / "a.nc", raw[:cut]), cut
    for cut in range(wanted, len(raw) + 1):
        assert not is_refused(tmp_path / "a.nc", raw[:cut]), cut


def test_what_lacks_only_the_zeros_that_fill_it_up_has_all_values(tmp_path, cut_file):
    write(tmp_path / "a.nc", "NETCDF3_CLASSIC", [("i2", ("time", "x")), ("i1", ("time",))], records=2)
    raw = (tmp_path / "a.nc").read_bytes()
    assert raw.endswith(b"A\0\0\0")
    cut_file(raw[:-3])
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["v1"][:].tolist() == [65, 65]
    with pytest.raises(InvalidValueError, match=f"has {len(raw) - 4:,} bytes and its header says {len(raw) - 3:,}"):
        cut_file(raw[:-4])


def test_a_cut_file_reads_as_zeros_without_the_check(tmp_path):
    write(tmp_path / "a.nc", "NETCDF3_CLASSIC", [("i4", ("x",))])
    (tmp_path / "a.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:-4])
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["v0"][:].tolist() == [0x41414141, 0x41414141, 0]
    with pytest.raises(InvalidValueError, match="cut short"):
        check(tmp_path / "a.nc")


def test_variables_beyond_4_gib_count_although_their_size_is_not_in_the_header(tmp_path):
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.set_fill_off()
        file.createDimension("x", 600_000_000)
        file.createVariable("a", "f8", ("x",))[-1] = 1.0  # all before it is a hole in the file
    size = path.stat().st_size
    assert size > 600_000_000 * 8
    check(path)
    with path.open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(InvalidValueError, match=f"has {size - 1:,} bytes and its header says {size:,}"):
        check(path)


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_records_that_are_not_counted_are_refused(tmp_path, cut_file, form):
    """The C library takes the largest number for the number of records, and reads as many."""
    wide = 8 if form == "NETCDF3_64BIT_DATA" else 4
    write(tmp_path / "a.nc", form, [("i4", ("time",))], records=2)
    raw = (tmp_path / "a.nc").read_bytes()
    with pytest.raises(InvalidValueError, match=r"a\.nc does not say how many records it has, .*: add"):
        cut_file(raw[:4] + b"\xff" * wide + raw[4 + wide :])
    write(tmp_path / "a.nc", form, [("i4", ("x",))])
    raw = (tmp_path / "a.nc").read_bytes()
    cut_file(raw[:4] + b"\xff" * wide + raw[4 + wide :])


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF4_CLASSIC"])
def test_files_of_hdf5_pass_whole_or_not(tmp_path, kind):
    write(tmp_path / "a.nc", kind, [("i4", ("time", "x"))], records=2)
    check(tmp_path / "a.nc")
    (tmp_path / "a.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:-50])
    check(tmp_path / "a.nc")


@pytest.mark.parametrize("raw", [b"", b"CDF", b"CDF\x03" + bytes(40), b"CDX\x01" + bytes(40), b"text"])
def test_what_is_no_classic_file_passes(cut_file, raw):
    cut_file(raw)


@pytest.mark.parametrize(("magic", "size"), [(b"CDF\x01", 28), (b"CDF\x02", 28), (b"CDF\x05", 44)])
def test_a_file_of_nothing_has_three_absent_lists(tmp_path, cut_file, magic, size):
    cut_file(magic + bytes(size))
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert (dict(file.variables), dict(file.dimensions), file.ncattrs()) == ({}, {}, [])
    with pytest.raises(InvalidValueError, match="header is cut short"):
        cut_file(magic + bytes(size - 1))


def word(number):
    return number.to_bytes(4, "big")


DIMENSION = word(1) + b"x\0\0\0" + word(3)
NO_LIST = bytes(8)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(word(11) + word(1) + DIMENSION + NO_LIST * 2, id="the tag of another list"),
        pytest.param(word(0) + word(1) + DIMENSION + NO_LIST * 2, id="an absent list of one"),
        pytest.param(
            NO_LIST * 2 + word(11) + word(1) + word(1) + b"v\0\0\0" + word(1) + word(0) + NO_LIST + word(4) * 3,
            id="a dimension that is not there",
        ),
        pytest.param(
            NO_LIST * 2 + word(11) + word(1) + word(1) + b"v\0\0\0" + word(0) + NO_LIST + word(12) + word(4) * 2,
            id="an unknown type",
        ),
        pytest.param(
            NO_LIST + word(12) + word(1) + word(1) + b"a\0\0\0" + word(0) + word(1), id="an attribute of no type"
        ),
        pytest.param(NO_LIST + word(12) + word(1) + word(1 << 31) + b"a\0\0\0", id="a name of 2 GiB"),
        pytest.param(
            word(10) + word(1) + DIMENSION + NO_LIST + word(11) + word(1) + word(1) + b"v\0\0\0" + word(1025)
            + word(0) * 1025 + NO_LIST + word(4) * 3,
            id="more axes than the C library reads",
        ),
    ],
)  # fmt: skip
def test_headers_that_the_c_library_refuses_too(tmp_path, cut_file, header):
    with pytest.raises(InvalidValueError, match="header is cut short or damaged"):
        cut_file(b"CDF\x01" + word(0) + header)
    with pytest.raises(OSError), netCDF4.Dataset(tmp_path / "a.nc"):
        pass


def test_forged_numbers_cost_no_time_and_no_memory(tmp_path):
    for form in sorted(CLASSIC):
        variables = [("i2", ("time", "x")), ("f8", ("y", "x")), ("i1", ("time",))]
        write(tmp_path / "a.nc", form, variables, records=2, attributes=["text", np.ones(3, "i2")])
        raw = (tmp_path / "a.nc").read_bytes()
        begun = time.perf_counter()
        tracemalloc.start()
        try:
            for at in range(4, wanted_length(raw, variables, 2) - 40, 4):
                for forged in (2**31 - 1, 2**31, 2**32 - 1, 2**20, 1025):
                    is_refused(tmp_path / "a.nc", raw[:at] + word(forged) + raw[at + 4 :])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20
        assert time.perf_counter() - begun < 20


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(word(10) + word(2**31 - 1), id="dimensions"),
        pytest.param(NO_LIST + word(12) + word(2**31 - 1), id="attributes"),
        pytest.param(NO_LIST * 2 + word(11) + word(2**31 - 1), id="variables"),
        pytest.param(NO_LIST + word(12) + word(1) + word(0) + word(6) + word(2**28), id="values of an attribute"),
        pytest.param(NO_LIST + word(12) + word(1) + word(2**31 - 1), id="a name"),
    ],
)
def test_forged_numbers_that_the_file_is_long_enough_for(tmp_path, header):
    """The file has 24 GiB of zeros, which take no place, and each is a list, a name or a value."""
    with (tmp_path / "a.nc").open("wb") as file:
        file.write(b"CDF\x01" + word(0) + header)
        file.truncate(24 << 30)
    begun = time.perf_counter()
    tracemalloc.start()
    try:
        is_refused(tmp_path / "a.nc")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert time.perf_counter() - begun < 5


@given(
    st.sampled_from(sorted(CLASSIC)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_damage_of_any_kind_is_refused(form, damages):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.nc"
        write(path, form, [("i2", ("time", "x")), ("f8", ("x",))], records=2, attributes=["text", np.ones(3, "i2")])
        raw = bytearray(path.read_bytes())
        for place, damage in damages:
            at = 4 + int(place * (len(raw) - 5))
            raw[at : at + len(damage)] = damage
        is_refused(path, bytes(raw))


@given(st.sampled_from(sorted(CLASSIC.values())), st.binary(max_size=400))
def test_any_bytes_after_the_magic_are_refused_or_pass(magic, raw):
    with TemporaryDirectory() as folder:
        is_refused(Path(folder) / "a.nc", magic + raw)
