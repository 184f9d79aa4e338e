"""The sound stores that are damaged: small, and together of every dtype, codec, filter, document and tag there is."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import xarray as xr

from atlas import Atlas
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from tests.golden.fleet import Fleet
from tests.golden.stores import GOLDEN, words
from tests.reliability.hostile import documents
from tests.reliability.hostile.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SHARED", "STORES", "Sound", "make_storage", "sound"]

_TIME = "2025-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Sound:
    """A sound store, and its parts."""

    name: str
    files: dict[str, bytes]
    trees: dict[str, dict[str, Any]] = field(repr=False)
    """The fields of its documents, not to be changed."""
    segments: list[str]
    """Keys of its segments that a document names."""

    def segment(self, key: str) -> Segment:
        """Return one of its segments, to be changed at will."""
        return Segment.parse(self.files[key])


def _joined(fleet: Fleet) -> None:
    """Many small flushes, so that segments are joined, a checkpoint lies in their midst, and commits after it."""
    for at in range(11):
        name = f"day {at}"
        fleet.create(name)
        for array, dtype in (("t", "float32"), ("n", "int16"), ("w", "string")):
            fleet.define(name, array, dtype, [6], [4], fill={"t": np.nan, "n": -1, "w": None}[array])
            cells = words(6) if dtype == "string" else np.array([1, 2, 3, 4, 5, at], dtype)
            if dtype == "string":
                cells[at % 6] = None
            fleet.write(name, array, [0], cells)
        fleet.attribute(name, "at", at)
        fleet.attribute(name, ("t", "units"), "K")
        if at == 6:
            fleet.delete("day 2")
            fleet.delete_array("day 3", "n")
            fleet.write("day 4", "t", [1], np.array([9, 9], "f4"))
        fleet.flush()


def _cut(fleet: Fleet) -> None:
    """Chunks that are cut into blocks, of plain, shuffled and noisy cells, and text that is not cut."""
    random = np.random.default_rng(1)
    fleet.create("one")
    fleet.define("one", "steps", "int16", [300, 300], [280, 300], fill=-1)
    fleet.write("one", "steps", [0, 0], (np.arange(90_000) // 7 % 1000).astype("i2").reshape(300, 300))
    fleet.define("one", "noise", "float32", [41_000])
    fleet.write("one", "noise", [0], random.random(41_000, "f4").round(2))
    fleet.define("one", "text", "string", [3])
    fleet.write("one", "text", [0], np.array(["é" * 40_000, "", "x" * 10], object))
    fleet.flush()


def _versions(store: Atlas) -> None:
    """Versions that are kept, left behind, gone back to and begun anew; bases and the links between them."""
    for at in range(8):
        view = store.create_dataset(f"day {at}")
        for name in ("t", "w"):
            view.define_array(name, "string" if name == "w" else "int32", ["x"], [5], [3])
            view.write_array(name, [0], words(5) if name == "w" else np.arange(5, dtype="i4") + at)
        store.flush(message=f"day {at}")
        if at in (2, 5):
            store.open_dataset("day 0").write_array("t", [1], np.array([at], "i4"))
            store.compact(keep_versions=2, keep_days=0)
        if at == 6:
            store.delete_dataset("day 3")
            store.flush()
            store.rollback(store.version - 1, message="back")


def _replaced(store: Atlas) -> None:
    """A store in the place of another, whose commits are still there."""
    _versions(store)
    again = Atlas.create(store._session.view.storage, codec="lz4", overwrite=True)
    view = again.create_dataset("new")
    view.define_array("n", "int16", ["x"], [3])
    view.write_array("n", [0], np.arange(3, dtype="i2"))
    again.flush()


def _anew(store: Atlas) -> None:
    """Datasets that others have replaced, of the same arrays, of others and of none."""
    for name, cells in (("a", 4), ("b", 3), ("c", 5)):
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.arange(cells, dtype="i2"))}, {"x": np.arange(cells)}), name)
    store.flush()
    store.replace_dataset("a", xr.Dataset({"t": ("x", np.arange(9, 13, dtype="i2"))}, attrs={"again": 1}))
    store.replace_dataset("c", xr.Dataset({"w": ("y", words(3))}))
    store.flush()
    store.replace_dataset("a", xr.Dataset())
    store.add_xr_dataset(xr.Dataset({"t": ("x", np.arange(2, dtype="i2"))}), "d")
    store.flush()


def _times(fleet: Fleet) -> None:
    """What xarray restores: times, durations, coordinates, and datasets that stack."""
    for name in ("a", "b", "c"):
        fleet.create(name)
        fleet.define(name, "time", "timestamp_nanoseconds", [4], dims=["time"])
        fleet.write(name, "time", [0], np.array([0, 1, 2, 24]).astype("M8[h]").astype("M8[ns]"))
        fleet.define(name, "v", "float64", [4, 3], [2, 3], fill=np.nan, dims=["time", "x"])
        fleet.write(name, "v", [0, 0], np.arange(12.0).reshape(4, 3))
        fleet.define(name, "d", "timedelta64[ns]", [4], dims=["time"])
        fleet.write(name, "d", [0], np.arange(4) * 3_600 * 10**9)
        fleet.define(name, "since", f"datetime64[{'ms' if name == 'b' else 's'}]", [4], [3], fill=5, dims=["time"])
        fleet.write(name, "since", [0], np.arange(4))
        fleet.attribute(name, ("time", "_atlas_dtype"), "datetime64[h]")
        fleet.attribute(name, ("d", "_atlas_dtype"), "timedelta64[h]")
        fleet.attribute(name, "_pyatlas_coords", '["time"]')
        fleet.attribute(name, ("_atlas_source",), f"{name}.nc")
        fleet.attribute(
            name, ("v", "_atlas_encoding"), '{"dtype":{"$":"dtype","t":"<i2","m":{}},"source":{"$":"source"}}'
        )
        fleet.attribute(name, "v.units", "K")
        fleet.attribute(name, "listed", 'json:[1, {"a": 2}]')
    fleet.flush()


def _shared(fleet: Fleet) -> None:
    """Chunks of coordinates that datasets share, within a segment and over several, and some that only look alike.

    Several of a block, cut ones and text; of several dtypes and fills; some of which the dataset is gone that had them
    first, or has other cells by now.
    """
    short, long = np.arange(12.0) / 4, np.arange(33_000, dtype="i4") // 50
    labels = words(10)

    def add(name: str, *, shift: float = 0.0, dtype: str = "float64", fill: Any = None) -> None:
        fleet.create(name)
        for array, cells, own, chunk in (
            ("lat", (short + shift).astype(dtype), dtype, 5),
            ("far", long + int(shift), "int32", len(long)),
            ("label", np.roll(labels, int(shift)), "string", 4),
        ):
            fleet.define(name, array, own, [len(cells)], [chunk], fill=fill if array == "lat" else None, dims=[array])
            fleet.write(name, array, [0], cells)
        fleet.define(name, "t", "int16", [3])
        fleet.write(name, "t", [0], np.arange(3, dtype="i2"))

    for names in (["a", "a2"], ["b"], ["c", "c2"]):
        for name in names:
            add(name)
        fleet.flush()
    add("other", shift=1.0)
    add("narrow", dtype="float32")
    add("filled", fill=-1.0)
    fleet.delete("a")
    fleet.flush()
    fleet.write("b", "lat", [3], np.array([7.0]))
    fleet.write("a2", "label", [2], np.array(["new", None], object))
    fleet.flush()
    add("like other", shift=1.0)
    add("like narrow", dtype="float32")
    fleet.flush()
    # A block goes as a whole: what the first has in common with others is stored once more, beside what is new.
    add("last")
    add("else", shift=2.0)
    fleet.flush()


@dataclass(frozen=True)
class _Recipe:
    build: Callable[[Any], None]
    options: dict[str, Any] = field(default_factory=dict)
    page_rows: int | None = None
    joined_at_once: int = limits.DEFAULT.joined_at_once
    compact: bool = False
    modelled: bool = True

    def limits(self) -> Limits:
        """Return the limits that it is written with."""
        rows = limits.DEFAULT.page_rows if self.page_rows is None else self.page_rows
        return Limits(page_rows=rows, digested_bytes=8, joined_at_once=self.joined_at_once)


def _golden(name: str, **options: Any) -> _Recipe:
    golden = GOLDEN[name]
    return _Recipe(golden.build, {**golden.options, **options}, golden.page_rows)


STORES = {
    "dtypes": _golden("dtypes"),
    "dtypes-msgpack": _golden("dtypes", meta_format="msgpack", codec="lz4", filter="byteshuffle"),
    "later-dtypes": _golden("later-dtypes"),
    "later-dtypes-msgpack": _golden("later-dtypes", meta_format="msgpack", codec="lz4", filter="byteshuffle"),
    "shapes": _golden("shapes"),
    "history": _golden("history"),
    "history-lz4": _golden("history", meta_compression="lz4", codec="none"),
    "pages": _golden("pages-json"),
    "pages-msgpack-zstd": _golden("pages-json", meta_format="msgpack", meta_compression="zstd"),
    "pages-msgpack-lz4": _golden("pages-msgpack-lz4"),
    "packed": _golden("packed-json"),
    "packed-msgpack": _golden("packed-msgpack-lz4"),
    "joined": _Recipe(_joined),
    "joined-msgpack": _Recipe(_joined, {"meta_format": "msgpack", "filter": "bitshuffle"}),
    "joined-compact": _Recipe(_joined, {"meta_compression": "zstd"}, compact=True),
    "cut-auto": _Recipe(_cut),
    "cut-byte": _Recipe(_cut, {"filter": "byteshuffle"}),
    "cut-lz4-bit": _Recipe(_cut, {"codec": "lz4", "filter": "bitshuffle"}),
    "cut-none": _Recipe(_cut, {"codec": "none"}),
    "blocks-zstd": _golden("blocks-zstd-auto"),
    "blocks-lz4": _golden("blocks-lz4-bit"),
    "decimals": _golden("decimals"),
    "decimals-delta": _golden("decimals", meta_format="msgpack", codec="lz4", filter="decimaldelta"),
    "cut-decimal": _Recipe(_cut, {"filter": "decimal"}),
    "cut-delta": _Recipe(_cut, {"codec": "lz4", "filter": "delta"}),
    "attributes": _golden("meta-json-none"),
    "attributes-msgpack": _golden("meta-msgpack-none"),
    "dated": _golden("dated"),
    "dated-msgpack": _golden("dated-msgpack"),
    "thinned": _golden("thinned"),
    "thinned-msgpack": _golden("thinned", meta_format="msgpack", meta_compression="lz4"),
    "versions": _Recipe(_versions, modelled=False),
    "versions-msgpack": _Recipe(_versions, {"meta_format": "msgpack", "meta_compression": "lz4"}, modelled=False),
    "replaced": _Recipe(_replaced, modelled=False),
    "anew": _Recipe(_anew, modelled=False),
    "anew-msgpack": _Recipe(_anew, {"meta_format": "msgpack", "meta_compression": "zstd"}, modelled=False),
    "times": _Recipe(_times),
    "shared": _Recipe(_shared, joined_at_once=1000),
    "shared-msgpack": _Recipe(
        _shared, {"meta_format": "msgpack", "codec": "lz4", "filter": "bitshuffle"}, joined_at_once=1000
    ),
    "shared-joined": _Recipe(_shared, {"codec": "none"}),
    "shared-golden": _golden("shared"),
    "times-msgpack": _Recipe(_times, {"meta_format": "msgpack", "filter": "none"}),
}

SHARED = [name for name in STORES if name.startswith("shared")]
"""Those in which datasets share chunks of coordinates."""


def make_storage(files: dict[str, bytes]) -> MemoryStorage:
    """Return a storage that holds these files."""
    storage = MemoryStorage()
    for key, data in files.items():
        storage.replace(key, data)
    return storage


@cache
def sound(name: str) -> Sound:
    """Return a sound store, the same bytes in every process."""
    recipe, names = STORES[name], itertools.count()
    storage = MemoryStorage()
    with (
        mock.patch.object(limits, "DEFAULT", recipe.limits()),
        mock.patch.object(secrets, "token_hex", lambda size: f"{next(names):0{2 * size}x}"),
        mock.patch.object(secrets, "randbits", lambda bits: Random(next(names)).getrandbits(bits)),
    ):
        store = Atlas.create(storage, **recipe.options)
        recipe.build(Fleet(store) if recipe.modelled else store)
        if recipe.compact:
            store.compact(keep_versions=1, keep_days=0)
    files = {key: storage.read(key) for key in storage.list()}
    trees = {}
    for key in list(files):
        if documents.is_document(key):
            tree = documents.decode(key, files[key])
            times = {field: _TIME for field in ("time", "created") if field in tree}
            for part in (*tree.get("commits", ()), *tree.get("earlier", ())):
                part["time"] = _TIME
            if times or "commits" in tree:
                tree |= times
                files[key] = documents.encode(key, tree)
            trees[key] = tree
    every = [*trees.values(), *(commit for tree in trees.values() for commit in tree.get("commits", ()))]
    named = {entry["key"] for tree in every for entry in tree.get("segments", [])}
    return Sound(name, files, trees, sorted(named & files.keys()))
