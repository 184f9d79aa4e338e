"""The golden stores: how each is made, by operations that `Fleet` models too. Nothing in them depends on chance."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.format.attributes import Timestamp
from atlas.runtime.limits import Limits
from tests.clock import lend_clock
from tests.independent_reader import CELLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.golden.fleet import Fleet

INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
NAT = -(2**63)


@dataclass(frozen=True)
class Golden:
    build: Callable[[Fleet], None]
    options: dict[str, Any] = field(default_factory=dict)
    """Of `Atlas.create`."""
    page_rows: int | None = None
    """Rows above which a page is written, where the number of the library is too large for a small file."""


def words(count: int) -> np.ndarray:
    """Text of all lengths, of one to four bytes a character."""
    some = ["", "a", "Ålesund", "東京", "🌊 wave", "x" * 50, "line\nbreak", "nul\0inside", "e\u0301"]
    return np.array([some[at % len(some)] + (str(at) if at % 4 == 3 else "") for at in range(count)], object)


def dtypes(fleet: Fleet) -> None:
    fleet.create("filled")
    fleet.create("bare")
    for name in INTEGERS:
        limits = np.iinfo(name)
        cells = np.array([limits.min, limits.max, 0, 1, 7, 42, 100, limits.max], name)
        fleet.define("filled", name, name, [8], [3], fill=42)
        fleet.define("bare", name, name, [2, 4], [1, 4])
        fleet.write("filled", name, [0], cells)
        fleet.write("bare", name, [0, 0], cells.reshape(2, 4))
    floats = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.5, -1e30, 1e-40]
    for name in ("float32", "float64"):
        for array, fill in ((name, None), (f"{name} nan", np.nan), (f"{name} zero", -0.0), (f"{name} tenth", 0.1)):
            dataset = "bare" if fill is None else "filled"
            fleet.define(dataset, array, name, [10], [4], fill=fill)
            fleet.write(dataset, array, [0], np.array(floats, name))
    times = np.array([0, NAT, 1, -1, 2**62, 1_700_000_000_000_000_000], "i8")
    fleet.define("filled", "time", "timestamp_nanoseconds", [7], [3], fill=1)
    fleet.define("bare", "time", "timestamp_nanoseconds", [2, 3])
    fleet.write("filled", "time", [1], times.view("M8[ns]"))
    fleet.write("bare", "time", [0, 0], times.reshape(2, 3))
    fleet.define("filled", "text", "string", [9], [4], fill="Ålesund")
    fleet.define("bare", "text", "string", [3, 3])
    fleet.write("filled", "text", [0], words(9))
    fleet.write("bare", "text", [0, 0], words(9).reshape(3, 3))
    fleet.flush()


LATER_TIMES = (
    "datetime64[s]",
    "datetime64[ms]",
    "datetime64[us]",
    *(f"timedelta64[{u}]" for u in ("s", "ms", "us", "ns")),
)


def later_dtypes(fleet: Fleet) -> None:
    """The dtypes that came after the first twelve: each is a feature of the documents that declare it."""
    fleet.create("filled")
    fleet.create("bare")
    truth = np.array([True, False, False, False, True, True, True, False])
    for name, fill in (("yes", True), ("no", False), ("truth", None)):
        dataset = "bare" if fill is None else "filled"
        fleet.define(dataset, name, "bool", [9], [3], fill=fill)
        fleet.write(dataset, name, [0], truth)
    halves = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5, -65504.0, 6e-8], "f2")
    for name, fill in (("half", None), ("half nan", np.nan), ("half zero", -0.0), ("half tenth", 0.1)):
        dataset = "bare" if fill is None else "filled"
        fleet.define(dataset, name, "float16", [10], [4], fill=fill)
        fleet.write(dataset, name, [0], halves)
    for at, name in enumerate(LATER_TIMES):
        ticks = np.array([0, NAT, 1, -1, NAT + 1, 2**63 - 1, 253_402_300_799 + at], "i8")
        fleet.define("filled", name, name, [9], [3], fill=(1, NAT)[at % 2])
        fleet.define("bare", name, name, [2, 3], [1, 2])
        fleet.write("filled", name, [1], ticks.view(np.dtype(name)))
        fleet.write("bare", name, [0, 0], ticks[1:].reshape(2, 3))
    fleet.flush()
    for at in range(6):
        fleet.create(f"day {at}")
        fleet.define(f"day {at}", "flag", "bool", [40])
        fleet.write(f"day {at}", "flag", [0], np.arange(40) % (at + 2) == 0)
        fleet.define(f"day {at}", "since", "timedelta64[s]", [40])
        fleet.write(f"day {at}", "since", [0], (np.arange(40) * 60).astype("m8[s]"))
    fleet.create("first dtypes only")
    fleet.define("first dtypes only", "n", "int8", [2])
    fleet.flush()


def missing(fleet: Fleet) -> None:
    """Missing text and bytes, NaN that stands for missing cells, and extremes that fit in an index and do not."""
    fleet.create("filled")
    fleet.create("bare")
    text = np.array([None, "", "é", None, "z" * 200, "a" * 128, "a" * 129, None, None, None], object)
    data = np.array([None, b"", b"\xff\x00", None, b"\xff" * 200, b"a\x00", b"\x00", None, None, None], object)
    for dataset, fills in (("filled", ("gone", b"\xfe")), ("bare", (None, None))):
        for name, cells, fill in zip(("string", "bytes"), (text, data), fills, strict=True):
            fleet.define(dataset, name, name, [11], [3], fill=fill)
            fleet.write(dataset, name, [0], cells)
            fleet.define(dataset, f"all {name}", name, [2, 2], fill=fill)
            fleet.write(dataset, f"all {name}", [0, 0], np.full((2, 2), None, object))
    for dtype, cells in (
        ("float32", np.array([np.nan, 1.5, -np.nan, -0.0], "f4")),
        ("float64", np.array([np.nan, np.nan, np.nan, 9.0])),
        ("datetime64[s]", np.array([NAT, 5, NAT, 7]).view("M8[s]")),
    ):
        for dataset, fill in (("filled", 9 if dtype[0] == "d" else 9.0), ("bare", None)):
            fleet.define(dataset, dtype, dtype, [6], [2], fill=fill, nan_is_missing=True)
            fleet.write(dataset, dtype, [0], cells)
    for dtype, fill in (("float32", np.nan), ("timedelta64[s]", NAT)):
        fleet.define("bare", f"{dtype} nan", dtype, [6], [2], fill=fill, nan_is_missing=True)
        fleet.write("bare", f"{dtype} nan", [1], np.array([1, 2], CELLS[dtype]))
    fleet.flush()
    for at in range(5):
        name = f"station {at}"
        fleet.create(name)
        fleet.define(name, "string", "string", [], fill="gone" if at == 4 else None)
        fleet.write(name, "string", [], np.array(None if at == 2 else f"name {at % 2}", object))
        if at == 3:
            fleet.flush()
    fleet.flush()


def shapes(fleet: Fleet) -> None:
    fleet.create("points")
    for at, (name, dtype, fill) in enumerate(
        [("i", "int32", None), ("f", "float64", np.nan), ("t", "timestamp_nanoseconds", 5)]
    ):
        fleet.define("points", name, dtype, [], fill=fill)
        if at < 2:
            fleet.write(
                "points",
                name,
                [],
                np.array(at + 0.5 if name == "f" else at, np.dtype(name + "8" if name == "f" else "i4")),
            )
    fleet.define("points", "s", "string", [])
    fleet.write("points", "s", [], np.array("0-D ✓", object))
    fleet.create("empty")
    for at, shape in enumerate([[0], [3, 0], [0, 0, 2]]):
        fleet.define("empty", f"none{at}", "int16", shape, fill=3)
        fleet.define("empty", f"text{at}", "string", shape, [1] * len(shape))
    fleet.write("empty", "none1", [1, 0], np.zeros((2, 0), "i2"))
    fleet.create("grids")
    cube = (np.arange(5 * 7 * 4) % 97).astype("u2").reshape(5, 7, 4)
    fleet.define("grids", "clipped", "uint16", [5, 7, 4], [2, 3, 3], dims=["z", "y", "x"])
    fleet.write("grids", "clipped", [0, 0, 0], cube)
    fleet.define("grids", "large chunk", "uint16", [5, 7, 4], [8, 100, 4], fill=9)
    fleet.write("grids", "large chunk", [1, 2, 0], cube[1:4, 2:5, :3])
    fleet.define("grids", "holes", "uint16", [5, 7, 4], [1, 7, 2], fill=60)
    fleet.write("grids", "holes", [3, 0, 2], cube[3:5, :, 2:])
    fleet.define("grids", "never", "float32", [10, 10], [5, 5], fill=-1.0)
    fleet.create("constants")
    for name, fill, value in (("same", None, 3), ("fill", 3, 3), ("other", 3, 4), ("zero", None, 0)):
        fleet.define("constants", name, "int64", [6], [2], fill=fill)
        fleet.write("constants", name, [0], np.full(4, value))
    fleet.define("constants", "minus zero", "float32", [4], [2])
    fleet.write("constants", "minus zero", [0], np.array([-0.0, -0.0, 0.0, -0.0], "f4"))
    odd = np.array([0x7FC00001, 0x7FC00001, 0xFFC12345, 0xFFC12345], "u4").view("f4")
    fleet.define("constants", "odd nan", "float32", [4], [2])
    fleet.write("constants", "odd nan", [0], odd)
    fleet.define("constants", "words", "string", [6], [2], fill="same")
    fleet.write("constants", "words", [0], np.array(["same"] * 4, object))
    fleet.define("constants", "blank", "string", [6], [2])
    fleet.write("constants", "blank", [0], np.array([""] * 4, object))
    fleet.flush()


def versions(fleet: Fleet) -> None:
    for name in ("a", "b"):
        fleet.create(name)
        fleet.define(name, "t", "int16", [6], [2], fill=-1)
        fleet.write(name, "t", [0], np.arange(4, dtype="i2") * len(fleet.datasets))
        fleet.attribute(name, "n", name)
        fleet.flush()
    mark = fleet.mark()
    fleet.delete("a")
    fleet.write("b", "t", [1], np.array([7, 8], "i2"))
    fleet.flush()
    fleet.compact(keep_versions=3)
    fleet.create("c")
    fleet.flush()
    fleet.rollback(mark)
    fleet.write("a", "t", [3], np.array([9], "i2"))
    fleet.create("d")
    fleet.flush()


def thinned(fleet: Fleet) -> None:
    """Earlier versions, which a base lists, of a month of flushes."""
    with lend_clock(speed=0, at=dt.datetime(2026, 7, 1, tzinfo=dt.UTC)) as clock:
        clock.ago = dt.timedelta(days=28)
        for at in range(6):
            clock.ago -= dt.timedelta(hours=15 if at == 2 else 30)
            fleet.create(f"day {at}")
            fleet.define(f"day {at}", "t", "int16", [6], [2], fill=-1)
            fleet.write(f"day {at}", "t", [0], np.arange(4, dtype="i2") * at)
            fleet.attribute("day 0", "ö", at)
            fleet.flush()
            if at == 3:
                fleet.write("day 1", "t", [1], np.array([7, 8], "i2"))
                fleet.compact(1, None)
        clock.ago = dt.timedelta(days=6)
        fleet.create("after")
        fleet.delete("day 2")
        fleet.flush()
        fleet.compact(1, None)


def packed(fleet: Fleet) -> None:
    """Commits of the past in packs, of which the first was given up in part."""
    for at in range(6):
        fleet.create(f"day {at}")
        fleet.define(f"day {at}", "t", "int16", [6], [2], fill=-1)
        fleet.write(f"day {at}", "t", [0], np.arange(4, dtype="i2") * at)
        fleet.attribute(f"day {at}", "ö", ["x" * at, at, None])
        if at == 4:
            fleet.delete("day 1")
            fleet.write("day 2", "t", [1], np.array([7, 8], "i2"))
        fleet.flush()
    fleet.compact(keep_versions=6)
    fleet.create("after")
    fleet.flush()


def history(fleet: Fleet) -> None:
    for name in ("kept", "gone", "reborn"):
        fleet.create(name)
        fleet.define(name, "a", "int32", [8], [4], fill=-1)
        fleet.write(name, "a", [0], np.arange(8, dtype="i4") * 3)
        fleet.define(name, "b", "string", [4], [2])
        fleet.write(name, "b", [0], words(4))
        fleet.attribute(name, "name", name)
        fleet.attribute(name, ("a", "units"), "K")
    fleet.flush()
    fleet.delete("gone")
    fleet.delete("reborn")
    fleet.create("reborn")
    fleet.define("reborn", "a", "int32", [8], [4], fill=-1)
    fleet.write("reborn", "a", [4], np.arange(4, dtype="i4"))
    fleet.write("kept", "a", [2], np.array([100, 200, 300], "i4"))
    fleet.attribute("kept", "name", "changed")
    fleet.attribute("kept", "later", 2)
    fleet.flush()
    fleet.delete_array("kept", "b")
    fleet.define("kept", "b", "string", [4], [2])
    fleet.delete_array("reborn", "a")
    fleet.define("reborn", "a", "float64", [3])
    fleet.create("last")
    fleet.flush()
    fleet.write("reborn", "a", [1], np.array([0.25]))
    fleet.write("kept", "b", [0], np.array(["again"], object))
    fleet.define("last", "a", "int32", [8], [4], fill=-1)
    fleet.write("last", "a", [0], np.full(8, -1, "i4"))
    fleet.flush()


def pages(fleet: Fleet) -> None:
    number = 0
    for size in (40, 3, 20, 2):
        for _ in range(size):
            name = f"profile {number:04d}"
            fleet.create(name)
            fleet.define(name, "depth", "float32", [5], fill=np.nan)
            fleet.write(name, "depth", [0], np.arange(5, dtype="f4") + number % 7)
            if number % 5 == 0:
                fleet.define(name, "flag", "int8", [2])
                fleet.write(name, "flag", [0], np.array([number % 2, 1], "i1"))
            fleet.attribute(name, "number", number)
            fleet.attribute(name, "group", "odd" if number % 2 else "even")
            number += 1
        fleet.flush()
    for gone in (0, 7, 41, 62):
        fleet.delete(f"profile {gone:04d}")
    for edited in (5, 42, 64):
        fleet.attribute(f"profile {edited:04d}", "group", "edited")
    fleet.write("profile 0010", "depth", [1], np.array([99], "f4"))
    fleet.flush()


def blocks(fleet: Fleet, stations: int = 4) -> None:
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.integers(-3, 4, 3000))
    for at in range(stations):
        name = f"station {at}"
        fleet.create(name)
        part = walk[at * 700 : at * 700 + 701]
        for dtype in ("int8", "int16", "float32", "float64", "uint64"):
            fleet.define(name, dtype, dtype, [701], [97])
            cells = np.abs(part).astype(dtype) if dtype == "uint64" else (part % 100).astype(dtype)
            fleet.write(name, dtype, [0], cells)
        fleet.define(name, "texts", "string", [30], [7])
        fleet.write(name, "texts", [0], words(30))
    fleet.flush()


def decimals(fleet: Fleet) -> None:
    """Decimals, also computed ones, integers and times in steps; missing cells, and some that are neither."""
    rng = np.random.default_rng(6)
    for at in range(2):
        name = f"buoy {at}"
        fleet.create(name)
        walk = np.cumsum(np.repeat(rng.integers(-9, 10, 175), 4)) + 9000
        odd, rough = rng.permutation(700), (rng.integers(0, 9000, 700) / 10).astype("f4")
        missing, zero, few = odd[:60], odd[60:110], odd[110:130]
        single, double = (walk / 100).astype("f4"), walk / 100
        single[missing], single[zero], single[few[:9]] = np.nan, -0.0, (1 / 3, np.inf, -np.nan) * 3
        double[missing], double[zero], double[few] = -9999.0, np.nan, rng.random(20)
        packed = walk.astype("f4") * np.float32(0.01)
        packed[missing], packed[few] = np.nan, 1e-40
        steps, days = walk.astype("i2"), np.arange(700) * 86_400_000_000_000 + walk
        rough[missing], rough[few] = np.nan, rng.random(20)
        steps[missing], days[few[:9]] = -32768, NAT
        for array, dtype, cells, fill in (
            ("single", "float32", single, np.nan),
            ("double", "float64", double, -9999.0),
            ("packed", "float32", packed, None),
            ("packed double", "float64", walk * 0.01, None),
            ("rough", "float32", rough, None),
            ("steps", "int16", steps, -32768),
            ("long", "int64", walk * 10**12, None),
            ("level", "uint8", (walk // 9 % 256).astype("u1"), None),
            ("time", "timestamp_nanoseconds", days.view("M8[ns]"), None),
        ):
            fleet.define(name, array, dtype, [700], [640], fill=fill)
            fleet.write(name, array, [0], cells)
    fleet.flush()


def cut(fleet: Fleet) -> None:
    fleet.create("one")
    for name, dtype, count in (("exact", "int16", 262_144), ("more", "int16", 262_145), ("wide", "float64", 100_003)):
        fleet.define("one", name, dtype, [count])
        fleet.write("one", name, [0], (np.arange(count) // 1000 % 50).astype(dtype))
    fleet.define("one", "text", "string", [3])
    fleet.write("one", "text", [0], np.array(["é" * 300_000, "", "x" * 10], object))
    fleet.flush()


ODD_NAMES = [
    "with space",
    "ünïcode",
    "100%",
    "a.b",
    ".hidden",
    "name\nbreak",
    "x" * 190 + "é" * 40,
    "COM1",
    "-dash",
    "🌊",
    "a:b\\c",
]


def names(fleet: Fleet) -> None:
    for at, name in enumerate(ODD_NAMES):
        fleet.create(name)
        for array in ODD_NAMES[at:]:
            fleet.define(name, array, "int16", [2], dims=[array[:3]])
            fleet.write(name, array, [0], np.array([at, len(array)], "i2"))
    fleet.flush()


def attributes(fleet: Fleet) -> None:
    fleet.create("plain")
    values = [
        True,
        False,
        0,
        1,
        -1,
        2**63 - 1,
        NAT,
        0.0,
        -0.0,
        1.0,
        0.1,
        1e300,
        5e-324,
        np.inf,
        -np.inf,
        np.nan,
        "",
        "東京",
        '{"$": "none"}',
    ]
    for at, value in enumerate(values):
        fleet.attribute("plain", f"key {at}", value)
    fleet.attribute("plain", "time", Timestamp(1_700_000_000_000_000_001))
    fleet.create("rich")
    rich = [
        None,
        b"",
        b"\x00\xff",
        [],
        [1, [2.5, "x"]],
        (),
        (True, None),
        {},
        {"$": "none", "a": {"b": [1]}},
        {1: "int", None: "none"},
        [2**70, -(2**70)],
        np.int8(-3),
        np.float32(0.1),
        np.bool_(1),
        np.str_("text\0"),
        np.bytes_(b"raw\0"),
        np.datetime64(5, "D"),
        np.timedelta64(7, "ms"),
        np.arange(6, dtype="i2").reshape(2, 3),
        np.array([[1.5, np.nan]], "f4"),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array(["a", "東京"]),
        np.array([b"x", b"yz"]),
        np.array(["o", "ö"], object),
        np.array([1, 2], "M8[s]"),
    ]
    for at, value in enumerate(rich):
        fleet.attribute("rich", ("temp", f"key {at}"), value)
    fleet.attribute("rich", ("own",), 1)
    fleet.attribute("rich", "temp.own", 2)
    fleet.create("bare")
    fleet.flush()
    fleet.attribute("bare", "added", "later")
    fleet.define("bare", "a", "float32", [3], fill=-np.inf)
    fleet.write("bare", "a", [1], np.array([1, 2], "f4"))
    fleet.flush()


def dated(fleet: Fleet) -> None:
    """Dates and durations of datetime and pandas as attributes."""
    hour, named = dt.timezone(dt.timedelta(hours=1)), dt.timezone(dt.timedelta(hours=-3, minutes=-30), "NST")
    values = [
        dt.date(1, 1, 1),
        dt.date(2000, 2, 29),
        dt.time(3, 4),
        dt.time(23, 59, 59, 999_999, tzinfo=named),
        dt.datetime(2000, 1, 2, 3, 4, 5),
        dt.datetime(2000, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        dt.datetime(2000, 1, 2, tzinfo=hour),
        dt.datetime(9999, 12, 31, 23, tzinfo=named),
        dt.timedelta(0),
        dt.timedelta(-1, 2, 3),
        dt.timedelta.max,
        *(pd.Timestamp("2000-01-02T03:04:05").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
        pd.Timestamp("2000-01-02", tz="UTC").as_unit("s"),
        pd.Timestamp("1677-09-22T00:00:00.123456789", tz=named).as_unit("ns"),
        *(pd.Timedelta(-5, "s").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
        pd.NaT,
    ]
    fleet.create("d")
    fleet.define("d", "t", "int8", [2])
    fleet.write("d", "t", [0], np.array([1, 2], "i1"))
    for at, value in enumerate(values):
        fleet.attribute("d", (f"key {at}",), value)
    fleet.attribute("d", ("t", "listed"), [values[4], (values[8],), {"a": pd.NaT}])
    fleet.attribute("d", "plain", values[5])
    fleet.flush()


def shared(fleet: Fleet) -> None:
    """Coordinates that datasets have in common: in one flush, over flushes, after a deletion and in another dtype."""
    latitude = np.round(np.linspace(-80, 80, 60), 2)
    long = np.arange(33_000, dtype="i4") // 128  # cut into blocks
    names = np.array([f"station {at:03d}" for at in range(40)], object)

    def add(name, *, shift=0.0, fill=None, labels=names):
        fleet.create(name)
        for array, cells, dtype, chunk, own_fill in (
            ("latitude", latitude + shift, "float64", 32, fill),
            ("distance", long, "int32", None, None),
            ("station", labels, "string", 20, None),
        ):
            fleet.define(name, array, dtype, [len(cells)], [chunk or len(cells)], fill=own_fill, dims=[array])
            fleet.write(name, array, [0], cells)

    add("first")
    add("beside")
    fleet.flush()
    for name in ("second", "third"):
        add(name)
        fleet.flush()
    add("filled", fill=-80.0)
    add("shifted", shift=0.5, labels=names[::-1].copy())
    fleet.delete("first")
    fleet.flush()
    fleet.write("second", "latitude", [0], np.array([-81.0]))
    fleet.flush()
    add("last")
    fleet.create("single")
    fleet.define("single", "latitude", "float32", [60], [32], dims=["latitude"])
    fleet.write("single", "latitude", [0], latitude.astype("f4"))
    fleet.flush()


GOLDEN = {
    "dtypes": Golden(dtypes),
    "later-dtypes": Golden(later_dtypes, {"filter": "bitshuffle"}, page_rows=4),
    "later-dtypes-msgpack": Golden(later_dtypes, {"codec": "lz4", "meta_format": "msgpack"}),
    "missing": Golden(missing, {"codec": "lz4", "meta_format": "msgpack"}),
    "shapes": Golden(shapes),
    "shared": Golden(shared),
    "history": Golden(history, {"codec": "lz4", "meta_format": "msgpack"}),
    "versions": Golden(versions, {"meta_compression": "zstd"}),
    "pages-json": Golden(pages, {"meta_compression": "none"}, page_rows=16),
    "pages-msgpack-lz4": Golden(pages, {"meta_format": "msgpack", "meta_compression": "lz4"}, page_rows=16),
    "thinned": Golden(thinned, {"limits": Limits(page_rows=3)}),
    "packed-json": Golden(packed, {"limits": Limits(pack_commits=3)}),
    "packed-msgpack-lz4": Golden(
        packed, {"limits": Limits(pack_commits=3), "meta_format": "msgpack", "meta_compression": "lz4"}
    ),
    "dated": Golden(dated),
    "dated-msgpack": Golden(dated, {"meta_format": "msgpack"}),
    "cut": Golden(cut),
    "names": Golden(names),
    "blocks-zstd-auto": Golden(blocks),
    "blocks-zstd-none": Golden(blocks, {"filter": "none"}),
    "blocks-zstd-byte": Golden(blocks, {"filter": "byteshuffle"}),
    "blocks-lz4-bit": Golden(blocks, {"codec": "lz4", "filter": "bitshuffle"}),
    "blocks-lz4-none": Golden(blocks, {"codec": "lz4", "filter": "none"}),
    "blocks-none": Golden(partial(blocks, stations=2), {"codec": "none"}),
    "decimals": Golden(decimals),
} | {
    f"meta-{form}-{packed}": Golden(attributes, {"meta_format": form, "meta_compression": packed})
    for form in ("json", "msgpack")
    for packed in ("none", "zstd", "lz4")
}  # fmt: skip
