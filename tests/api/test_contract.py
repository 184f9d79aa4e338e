"""What users rely on beyond the published page."""

from __future__ import annotations

import datetime as dt
import logging
import subprocess
import sys

import numpy as np
import pytest

import atlas
from atlas import Atlas, AtlasError
from tests.api.samples import DTYPES, make_cells, put
from tests.model import identical


def files(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


# Creating


@pytest.mark.parametrize("compression", ["none", "uncompressed", "ZSTD", "lz4"])
@pytest.mark.parametrize("form", ["json", "msgpack", "MP"])
def test_the_metadata_file_says_its_format_and_open_finds_out(place, form, compression):
    store = Atlas.create(place, "None", form, compression)
    name = {"json": "atlas.json", "msgpack": "atlas.msgpack", "mp": "atlas.msgpack"}[form.lower()]
    name += {"zstd": ".zst", "lz4": ".lz4"}.get(compression.lower(), "")
    assert files(place) == [name]
    put(store.create_dataset("ü"), "t", np.arange(3.0), "float64", fill_value=float("nan"))
    store.open_dataset("ü").set_attribute("k", float("-inf"))
    store.flush()
    assert [file for file in files(place) if file.startswith("atlas.")] == [name]
    view = Atlas.open(place).open_dataset("ü")
    assert view.read_array("t").tolist() == [0, 1, 2]
    assert view.get_attribute("k") == float("-inf")


@pytest.mark.parametrize("codec", ["zstd", "LZ4", "none", "Uncompressed"])
def test_codec_names_are_case_insensitive(place, codec):
    with Atlas.create(place, codec=codec) as store:
        put(store.create_dataset("d"), "t", np.arange(1000), "int64")
    assert Atlas.open(place).open_dataset("d").read_array("t").tolist() == list(range(1000))


@pytest.mark.parametrize(
    "names", [{"codec": "gzip"}, {"meta_format": "xml"}, {"meta_compression": "br"}, {"filter": "x"}]
)
def test_unknown_names_are_refused_before_anything_is_made(place, names):
    with pytest.raises(ValueError, match="unknown") as info:
        Atlas.create(place, **names)
    assert isinstance(info.value, AtlasError)
    assert not place.exists()


def test_reprs(store):
    view = store.create_dataset("z")
    for name in "abc":
        view.define_array(name, "int8", [], [])
    assert repr(store) == "<Atlas datasets=1>"
    assert repr(view) == '<DatasetView name="z" arrays=3>'


def test_init_tracing_logs_to_stderr():
    script = (
        "import atlas, tempfile, logging; atlas.init_tracing('debug'); logging.getLogger('atlas').debug('seen');"
        "atlas.init_tracing(); logging.getLogger('atlas').debug('unseen')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "seen" in done.stderr
    assert "unseen" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("wrong", ["loud", "atlas=loud"])
def test_init_tracing_refuses_unknown_levels(wrong):
    handlers = list(logging.getLogger("atlas").handlers)
    with pytest.raises(ValueError, match="loud"):
        atlas.init_tracing(wrong)
    assert logging.getLogger("atlas").handlers == handlers


# Names


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "ü",
        "日本語",
        "a b",
        " ",
        "a.b",
        "...",
        ".x",
        "50%",
        "#1",
        "%2F",
        "a\\b",
        "a:b",
        "CON",
        "x" * 600,
        "😀",
        "a\nb",
        "'",
        '"',
    ],
)
def test_any_non_empty_name_works(store, place, name):
    for dataset in (name, "other"):
        view = store.create_dataset(dataset)
        put(view, name, np.arange(3), "int64", fill_value=1)
        view.set_attribute(name, "v")
    store.flush()
    for _ in range(2):
        store = Atlas.open(place)
        view = store.open_dataset(name)
        assert store.list_datasets() == [name, "other"]
        assert view.list_arrays() == [name] == store.list_arrays()
        assert view.read_array(name).tolist() == [0, 1, 2]
        assert view.array_stats(name)["null_count"] == 1
        assert view.attributes() == {name: "v"}
        assert store.read_array_across_stacked(name, [name, "other"]).tolist() == [[0, 1, 2]] * 2
        store.compact(keep_versions=1, keep_days=0)


def test_names_that_differ_by_case_or_composition_are_different(store, place):
    names = ["t", "T", "\u00e9", "e\u0301", "x" * 300 + "1", "x" * 300 + "2"]
    view = store.create_dataset("d")
    for i, name in enumerate(names):
        put(view, name, np.array([i]), "int64")
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert [view.read_array(name).tolist() for name in names] == [[i] for i in range(len(names))]


# dtypes


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("INT8", "int8"),
        ("i16", "int16"),
        ("i32", "int32"),
        ("I64", "int64"),
        ("u16", "uint16"),
        ("u32", "uint32"),
        ("u64", "uint64"),
        ("f32", "float32"),
        ("F64", "float64"),
        ("i1", "int8"),
        ("i4", "int32"),
        ("f8", "float64"),
        (np.dtype("i8"), "int64"),
        ("Bool", "bool"),
        (bool, "bool"),
        ("f2", "float16"),
        ("datetime64[S]", "datetime64[s]"),
        ("m8[ns]", "timedelta64[ns]"),
        ("str", "string"),
        ("String", "string"),
        ("timestamp_ns", "timestamp_nanoseconds"),
        ("datetime64[ns]", "timestamp_nanoseconds"),
        (np.dtype("int16"), "int16"),
        (np.float32, "float32"),
        (np.dtype("M8[ns]"), "timestamp_nanoseconds"),
        (np.dtype(object), "string"),
        (np.dtype("U5"), "string"),
        (np.dtype(">i4"), "int32"),
    ],
)
def test_names_of_dtypes(store, given, stored):
    view = store.create_dataset("d")
    view.define_array("t", given, ["x"], [2])
    assert view.array_meta("t")["dtype"] == stored


# Fill values


@pytest.mark.parametrize(
    ("dtype", "fill", "kept"),
    [
        ("int8", -128, -128),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("int16", np.int64(5), 5),
        ("uint8", np.uint8(255), 255),
        ("float32", 1, 1.0),
        ("float64", 2.5, 2.5),
        ("float32", np.float32(0.5), 0.5),
        ("float64", np.int8(3), 3.0),
        ("string", "n/a", "n/a"),
        ("string", np.str_("x"), "x"),
        ("string", "", ""),
        ("timestamp_ns", 5, 5),
        ("timestamp_ns", np.datetime64("1970-01-02"), 86_400 * 10**9),
        ("timestamp_ns", np.datetime64("NaT", "ns"), -(2**63)),
        ("int64", None, None),
    ],
)
def test_fill_values_of_the_fitting_kind(store, place, dtype, fill, kept):
    view = store.create_dataset("d")
    view.define_array("t", dtype, ["x"], [3], fill_value=fill)
    for _ in range(2):
        found = view.array_fill_value("t")
        assert found == kept
        assert type(found) is type(kept)
        if kept is not None:
            cells = view.read_array("t")
            cells = cells.view(np.int64) if cells.dtype.kind == "M" else cells
            assert cells.tolist() == [kept] * 3
        store.flush()
        view = Atlas.open(place).open_dataset("d")


@pytest.mark.parametrize(
    ("dtype", "fill", "kind"),
    [
        ("int8", True, TypeError),
        ("int8", 1.0, TypeError),
        ("int8", "1", TypeError),
        ("int8", 128, OverflowError),
        ("uint8", -1, OverflowError),
        ("float32", True, TypeError),
        ("float32", "nan", TypeError),
        ("float32", 1e300, OverflowError),
        ("string", 1, TypeError),
        ("string", b"x", TypeError),
        ("timestamp_ns", 1.5, TypeError),
        ("timestamp_ns", "2020", TypeError),
        ("timestamp_ns", 2**63, OverflowError),
        ("timestamp_ns", np.timedelta64(1, "s"), TypeError),
        ("int64", np.float64(1), TypeError),
        ("int64", np.datetime64(1, "ns"), TypeError),
        ("float64", [1.0], TypeError),
        ("int8", np.bool_(True), TypeError),
        ("bool", 1, TypeError),
    ],
)
def test_fill_values_of_another_kind_are_refused(store, dtype, fill, kind):
    view = store.create_dataset("d")
    with pytest.raises(kind) as info:
        view.define_array("t", dtype, ["x"], [3], fill_value=fill)
    assert isinstance(info.value, AtlasError)
    assert view.list_arrays() == []


def test_bool_arrays_with_and_without_a_fill(store, place):
    view = store.create_dataset("d")
    for name, fill in (("none", None), ("yes", True), ("no", np.False_)):
        view.define_array(name, "bool", ["x"], [3], [2], fill_value=fill)
        view.write_array(name, [1], np.array([True]))
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert [view.array_fill_value(name) for name in ("none", "yes", "no")] == [None, True, False]
    assert [view.read_array(name).tolist() for name in ("none", "yes", "no")] == [
        [False, True, False],
        [True, True, True],
        [False, True, False],
    ]
    assert view.array_stats("none") == {"row_count": 3, "null_count": 1, "min": False, "max": True}
    assert view.array_stats("yes") == {"row_count": 3, "null_count": 3, "min": None, "max": None}
    assert view.array_stats("no") == {"row_count": 3, "null_count": 2, "min": True, "max": True}
    assert type(view.array_stats("no")["min"]) is bool


@pytest.mark.parametrize(("name", "hint"), [("i8", '"int64" or "int8"'), ("U8", '"uint64" or "uint8"')])
def test_names_that_two_packages_read_differently_are_refused(store, name, hint):
    view = store.create_dataset("d")
    with pytest.raises(ValueError, match=hint) as info:
        view.define_array("t", name, ["x"], [3])
    assert isinstance(info.value, AtlasError)
    assert view.list_arrays() == []


# Reading and writing


@pytest.mark.parametrize(
    ("dtype", "cell"), [("int16", 0), ("float32", 0.0), ("string", ""), ("timestamp_ns", np.datetime64(0, "ns"))]
)
def test_unwritten_cells_without_a_fill(store, place, dtype, cell):
    view = store.create_dataset("d")
    view.define_array("t", dtype, ["x", "y"], [3, 2], [2, 2])
    for _ in range(2):
        assert (view.read_array("t") == np.full((3, 2), cell)).all()
        store.flush()
        view = Atlas.open(place).open_dataset("d")


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_are_fresh_writable_contiguous_and_see_pending_writes(store, dtype, flushed):
    view = store.create_dataset("d")
    cells = make_cells(dtype, (6, 5))
    put(view, "t", cells, dtype, (2, 2))
    if flushed:
        store.flush()
        cells = make_cells(dtype, (6, 5), 3)
        view.write_array("t", [0, 0], cells)
    for start, shape in [(None, None), ([2, 1], None), (None, [3, 2]), ([1, 1], [4, 3])]:
        low = start or [0, 0]
        high = [s + n for s, n in zip(low, shape, strict=True)] if shape else [6, 5]
        expected = cells[low[0] : high[0], low[1] : high[1]].copy()
        found = view.read_array("t", start, shape)
        assert identical(found, expected)
        assert found.flags.c_contiguous
        assert found.flags.writeable
        assert found.base is None or found.base.flags.writeable
        if found.size:
            found[...] = found[-1, -1]
        assert identical(view.read_array("t", start, shape), expected)


def test_what_is_written_is_copied(store):
    view = store.create_dataset("d")
    for name, cells in (("n", np.arange(6.0)), ("s", np.array(list("abcdef"), object))):
        put(view, name, cells, "float64" if name == "n" else "string", (2,))
        cells[:] = cells[0]
    assert view.read_array("n").tolist() == [0, 1, 2, 3, 4, 5]
    assert view.read_array("s").tolist() == list("abcdef")


@pytest.mark.parametrize("index", [[np.int64(1)], (1,), np.array([1]), range(1, 2)])
def test_indices_of_any_sequence_of_integers(store, index):
    view = store.create_dataset("d")
    put(view, "t", np.arange(4), "int64")
    view.write_array("t", index, np.array([9]))
    assert view.read_array("t", index, index).tolist() == [9]


def test_surrogate_escapes_are_recovered_or_refused(store, place):
    view = store.create_dataset("d")
    put(view, "t", np.array(["\udcc3\udcbc", "b"], object), "string")
    view.set_attribute("k", "\udcc3\udcbc")
    for text in ("a\udcff", "\ud800", b"caf\xe9"):
        with pytest.raises(ValueError, match="no UTF-8"):
            view.write_array("t", [1], np.array([text], object))
    with pytest.raises(ValueError, match="no UTF-8"):
        view.set_attribute("k", "a\udcff")
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert view.read_array("t").tolist() == ["ü", "b"]
    assert view.get_attribute("k") == "ü"


# Statistics


def test_statistics_by_dtype(store, place):
    view = store.create_dataset("d")
    cases = {
        "i": (np.array([3, -1, 2, 3], "i2"), "int16", 3, {"row_count": 4, "null_count": 2, "min": -1, "max": 2}),
        "u": (
            np.array([0, 2**64 - 1], "u8"),
            "uint64",
            None,
            {"row_count": 2, "null_count": 0, "min": 0, "max": 2**64 - 1},
        ),
        "f": (
            np.array([np.nan, 1.5, -np.inf]),
            "float64",
            None,
            {"row_count": 3, "null_count": 0, "min": -np.inf, "max": 1.5},
        ),
        "n": (np.array([np.nan, 1.5]), "float64", np.nan, {"row_count": 2, "null_count": 1, "min": 1.5, "max": 1.5}),
        "a": (
            np.array([np.nan, np.nan]),
            "float64",
            np.nan,
            {"row_count": 2, "null_count": 2, "min": None, "max": None},
        ),
        "s": (np.array(["b", "", "ä", "b"]), "string", "", {"row_count": 4, "null_count": 1, "min": "b", "max": "ä"}),
        "t": (
            np.array([5, 7], "M8[ns]"),
            "timestamp_ns",
            np.datetime64(7, "ns"),
            {"row_count": 2, "null_count": 1, "min": 5, "max": 5},
        ),
        "0": (np.array(4, "i4"), "int32", None, {"row_count": 1, "null_count": 0, "min": 4, "max": 4}),
    }
    for name, (cells, dtype, fill, _) in cases.items():
        put(view, name, cells, dtype, fill_value=fill)
    store.flush()
    for handle in (store, Atlas.open(place)):
        for name, (_, _, _, expected) in cases.items():
            found = handle.open_dataset("d").array_stats(name)
            assert found == expected, name
            assert list(map(type, found.values())) == list(map(type, expected.values())), name


def test_statistics_are_those_of_the_last_flush(store):
    view = store.create_dataset("d")
    put(view, "t", np.array([1, 2]), "int64")
    view.define_array("never", "int64", ["x"], [4])
    store.flush()
    view.write_array("t", [0], np.array([50]))
    assert view.array_stats("t")["max"] == 2
    store.flush()
    assert view.array_stats("t") == {"row_count": 2, "null_count": 0, "min": 2, "max": 50}
    assert view.array_stats("never") is None
    assert view.array_stats("missing") is None


# Attributes


def test_attributes_keep_order_type_and_bits(store, place):
    values = {
        "z": True,
        "a": 1,
        "b": 1.0,
        "n": float("nan"),
        "i": float("-inf"),
        "m": -0.0,
        "pi": 0.1 + 0.2,
        "tiny": 5e-324,
        "s": "x",
        "date": "2020-01-01T00:00:00",
        "j": "json:[1, 2",
        "e": "",
        "big": 2**63 - 1,
        "low": -(2**63),
        "0": False,
    }
    view = store.create_dataset("d")
    for key, value in values.items():
        view.set_attribute(key, value)
    for _ in range(2):
        found = view.attributes()
        assert list(found) == list(values)
        for key, value in values.items():
            assert type(found[key]) is type(value)
            assert repr(found[key]) == repr(value)
        store.compact(keep_versions=1, keep_days=0)
        view = Atlas.open(place).open_dataset("d")


@pytest.mark.parametrize(
    ("value", "dtype", "kind"),
    [
        (200, "int8", OverflowError),
        (-1, "uint8", OverflowError),
        (2**63, None, OverflowError),
        (1.5, "int8", TypeError),
        ("1", "int8", TypeError),
        (1, "string", TypeError),
        (1, "bool", TypeError),
        (1e300, "float32", OverflowError),
        (None, None, ValueError),
        ([1], None, ValueError),
        (1, "int9", ValueError),
        (1j, None, ValueError),
        (np.zeros(2), None, ValueError),
        (dt.date(2020, 1, 1), None, ValueError),
    ],
)
def test_attributes_that_do_not_fit_are_refused(store, value, dtype, kind):
    view = store.create_dataset("d")
    with pytest.raises(kind) as info:
        view.set_attribute("k", value, dtype)
    assert isinstance(info.value, AtlasError)
    assert view.attributes() == {}


# Order and sharing


def test_orders_of_lists(store, place):
    for name in ("z", "a", "m"):
        view = store.create_dataset(name)
        for array in ("y", "b", "x"):
            view.define_array(array, "int8", [], [])
    store.flush()
    store.delete_dataset("z")
    store.create_dataset("z")
    store.open_dataset("m").delete_array("y")
    store.open_dataset("m").define_array("y", "int8", [], [])
    for _ in range(2):
        assert store.list_datasets() == ["a", "m", "z"]
        assert store.list_arrays() == ["b", "x", "y"]
        assert store.open_dataset("m").list_arrays() == ["b", "x", "y"]
        store.flush()
        store = Atlas.open(place)


def test_views_share_state(store):
    one = store.create_dataset("d")
    other = store.open_dataset("d")
    put(one, "t", np.arange(3), "int64")
    other.write_array("t", [1], np.array([9]))
    assert one.read_array("t").tolist() == [0, 9, 2]
    store.delete_dataset("d")
    for view in (one, other):
        for call in (view.list_arrays, view.attributes, lambda view=view: view.read_array("t")):
            with pytest.raises(KeyError):
                call()
    store.create_dataset("d")
    assert one.list_arrays() == []


def test_lists_are_the_callers_own(store):
    view = store.create_dataset("d")
    view.define_array("t", "int8", ["x"], [2])
    for found in (store.list_datasets(), store.list_arrays(), view.list_arrays(), view.array_meta("t")["shape"]):
        found.clear()
    view.attributes()["k"] = 1
    assert store.list_datasets() == ["d"]
    assert store.list_arrays() == view.list_arrays() == ["t"]
    assert view.array_meta("t")["shape"] == [2]
    assert view.attributes() == {}
