"""The engine of xarray: what it opens, which version, what it says of it, and what it leaves to other engines."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import zipfile
from importlib import metadata

import numpy as np
import pytest
import xarray as xr
from xarray.testing import assert_identical

from atlas import Atlas, errors
from atlas.engine import AtlasBackendEntrypoint
from atlas.storage import LocalStorage, MemoryStorage
from tests.distributions import build

ENGINE = {"engine": AtlasBackendEntrypoint}
DS = xr.Dataset({"t": ("x", np.arange(6.0))}, {"x": np.arange(6)}, {"title": "six"})


@pytest.fixture
def only(place):
    """A folder that holds a store of one dataset in several chunks."""
    with Atlas.create(place) as store:
        store.add_xr_dataset(DS, "only", chunks={"t": [2]})
    return place


@pytest.mark.parametrize("kind", [str, lambda path: path, Atlas.open], ids=["text", "path", "handle"])
def test_a_store_is_opened_by_its_location_or_its_handle(only, kind):
    with xr.open_dataset(kind(only), **ENGINE) as ds:
        assert_identical(ds, DS)
        assert ds.encoding["source"] == str(only)
    assert_identical(xr.open_dataarray(kind(only), **ENGINE), DS["t"])
    assert_identical(xr.load_dataset(kind(only), **ENGINE), DS)


def test_a_storage_that_has_no_path_is_opened_too():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        store.add_xr_dataset(DS, "only")
    ds = xr.open_dataset(storage, **ENGINE)
    assert_identical(ds, DS)
    assert ds.encoding["source"] == storage.describe


def test_a_bucket_is_opened_by_its_handle():
    obstore = pytest.importorskip("obstore")
    bucket = obstore.store.MemoryStore()
    with Atlas.create(bucket) as store:
        store.add_xr_dataset(DS, "only", chunks={"t": [2]})
    assert_identical(xr.open_dataset(bucket, **ENGINE), DS)
    assert_identical(xr.open_dataset(bucket, **ENGINE, chunks={}).compute(), DS)


def test_one_of_several_datasets_is_named(only):
    store = Atlas.open(only)
    for name in ("b", "c", "d"):
        store.add_xr_dataset(DS + 1, name)
    message = r"holds 4 datasets, 'only', 'b', 'c' and 1 more.*group='only'.*open_datatree"
    for group in (None, "/"):
        with pytest.raises(errors.InvalidValueError, match=message):
            xr.open_dataset(store, **ENGINE, group=group)
    for group in ("b", "/b", "b/"):
        assert_identical(xr.open_dataset(store, **ENGINE, group=group).drop_attrs(), (DS + 1).drop_attrs())
    with pytest.raises(errors.DatasetNotFoundError, match="'e'"):
        xr.open_dataset(store, **ENGINE, group="e")
    with pytest.raises(errors.InvalidTypeError, match="group"):
        xr.open_dataset(store, **ENGINE, group=3)


def test_a_store_without_datasets_says_so(store):
    with pytest.raises(errors.InvalidValueError, match="holds no dataset"):
        xr.open_dataset(store, **ENGINE)
    assert xr.open_datatree(store, **ENGINE).identical(xr.DataTree())


def test_what_a_location_cannot_be_is_said_as_by_atlas_open(tmp_path):
    with pytest.raises(errors.StoreNotFoundError, match="no store"):
        xr.open_dataset(tmp_path / "none", **ENGINE)
    with pytest.raises(errors.InvalidValueError, match="URL"):
        xr.open_dataset("s3://bucket/store", **ENGINE)
    with pytest.raises(errors.InvalidTypeError, match="obstore handle"):
        xr.open_dataset(b"bytes", **ENGINE)


@pytest.mark.parametrize("kind", [str, Atlas.open], ids=["path", "handle"])
def test_an_earlier_version_is_opened(only, kind):
    with Atlas.open(only) as store:
        store["only"]["t"][0] = -1
    assert xr.open_dataset(kind(only), **ENGINE)["t"][0].item() == -1
    assert_identical(xr.open_dataset(kind(only), **ENGINE, version=1), DS)
    assert_identical(xr.open_datatree(kind(only), **ENGINE, version=1)["only"].to_dataset(), DS)
    assert xr.open_dataset(kind(only), **ENGINE, version=2)["t"][0].item() == -1
    with pytest.raises(errors.VersionNotFoundError):
        xr.open_dataset(kind(only), **ENGINE, version=9)


def test_a_handle_shows_what_is_pending_and_a_path_what_was_flushed(only):
    store = Atlas.open(only)
    store["only"]["t"][0] = -1
    assert xr.open_dataset(store, **ENGINE)["t"][0].item() == -1
    assert xr.open_dataset(store, **ENGINE, chunks={})["t"][0].compute().item() == -1
    assert xr.open_dataset(only, **ENGINE)["t"][0].item() == 0
    with pytest.raises(errors.InvalidValueError, match="flush"):
        pickle.dumps(xr.open_dataset(store, **ENGINE))


def test_what_was_opened_stays_as_it_was_beside_later_commits(only):
    ds = xr.open_dataset(only, **ENGINE)
    with Atlas.open(only) as store:
        store["only"]["t"][...] = -1
    with Atlas.open(only) as store:
        store.delete_dataset("only")
        store.add_xr_dataset(DS + 1, "other")
        store.compact()
    assert_identical(ds, DS)


def test_what_a_compaction_has_removed_is_an_error(only):
    ds = xr.open_dataset(only, **ENGINE)
    with Atlas.open(only) as store:
        store["only"]["t"][...] = -1
        store.compact(keep_versions=1, keep_days=0)
        store.compact(keep_versions=1, keep_days=0)
    with pytest.raises(errors.StaleHandleError, match="no longer kept"):
        ds["t"].load()


def test_a_dataset_that_is_deleted_in_the_handle_is_an_error(only):
    store = Atlas.open(only)
    ds = xr.open_dataset(store, **ENGINE)
    store.delete_dataset("only")
    with pytest.raises(errors.DatasetNotFoundError, match="'only'"):
        ds["t"].load()


def test_closing_closes_what_was_opened_and_never_the_handle_of_the_caller(only, monkeypatch):
    closed = []
    close = Atlas.close
    monkeypatch.setattr(Atlas, "close", lambda self: (closed.append(self), close(self))[1])
    with xr.open_dataset(only, **ENGINE) as ds:
        assert closed == []
    assert len(closed) == 1
    assert_identical(ds, DS)  # a handle stays usable
    with pytest.raises(errors.DatasetNotFoundError):
        xr.open_dataset(only, **ENGINE, group="none")
    assert len(closed) == 2
    with Atlas.open(only) as store:
        xr.open_dataset(store, **ENGINE).close()
        assert len(closed) == 2
        store["only"]["t"][0] = 1
        assert store["only"]["t"][0] == 1


def test_a_dataset_of_many_paths_is_opened_as_one(tmp_path):
    for at in range(3):
        with Atlas.create(tmp_path / str(at)) as store:
            store.add_xr_dataset(DS.assign_coords(x=DS["x"] + 6 * at), "part")
    paths = [tmp_path / str(at) for at in range(3)]
    with xr.open_mfdataset(paths, **ENGINE) as ds:
        assert ds["t"].chunks == ((6, 6, 6),)
        assert ds["x"].values.tolist() == list(range(18))
        assert ds["t"].sum().compute().item() == 45


def test_dask_names_tell_versions_and_handles_apart(only):
    store = Atlas.open(only)

    def name(source, **options):
        return xr.open_dataset(source, **ENGINE, chunks={}, **options)["t"].data.name

    first = name(store)
    assert name(store) == first
    store["only"]["t"][0] = -1
    pending = name(store)
    assert pending != first
    store.flush()
    assert len({first, pending, name(store), name(only), name(only, version=1)}) == 5


# ---- guessing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meta_format", ["json", "msgpack"])
@pytest.mark.parametrize("meta_compression", ["none", "zstd", "lz4"])
@pytest.mark.parametrize("datasets", [0, 3000])
def test_every_kind_of_store_is_known(place, meta_format, meta_compression, datasets):
    with Atlas.create(place, meta_format=meta_format, meta_compression=meta_compression) as store:
        store.create_datasets([f"{at}-{at * 7919 % 10007}" for at in range(datasets)])
    guess = AtlasBackendEntrypoint().guess_can_open
    assert guess(str(place))
    assert guess(place)
    assert guess(Atlas.open(place))


def write(folder, name, data=b""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder


OTHERS = {
    "a missing path": lambda path: path / "none",
    "an empty folder": lambda path: path,
    "a folder below a store": lambda path: Atlas.create(path).describe() and path / "commits",
    "a file": lambda path: write(path, "a.nc", b"CDF\x01") / "a.nc",
    "a store of Zarr 3": lambda path: write(path, "zarr.json", b'{"zarr_format":3,"node_type":"group"}'),
    "a store of Zarr 2": lambda path: write(path, ".zgroup", b'{"zarr_format":2}'),
    "a store of another package": lambda path: write(path, "atlas.json", b'{"version":1,"datasets":{}}'),
    "an image atlas": lambda path: write(path, "atlas.json", b'{"frames":{"xxh3":1}}' * 5),
    "an empty checkpoint": lambda path: write(path, "atlas.json"),
    "no zstd": lambda path: write(path, "atlas.json.zst", b"not compressed"),
    "no lz4": lambda path: write(path, "atlas.msgpack.lz4", b"not compressed"),
    "a folder in its place": lambda path: write(path / "atlas.json", "a").parent,
    "a URL": lambda path: "https://example.org/atlas",
    "a bucket": lambda path: "s3://bucket/store",
    "bytes": lambda path: b"CDF\x01",
    "a number": lambda path: 3,
    "text that is no path": lambda path: "a\0b",
    "a home that is not there": lambda path: "~nobody-of-this-name/store",
    "text that is too long": lambda path: "a" * 10_000,
    "None": lambda path: None,
}


@pytest.mark.parametrize("what", OTHERS)
def test_nothing_else_is(place, what):
    place.mkdir()
    source = OTHERS[what](place)
    assert AtlasBackendEntrypoint().guess_can_open(source) is False


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_none(only):
    only.chmod(0)
    try:
        assert AtlasBackendEntrypoint().guess_can_open(only) is False
    finally:
        only.chmod(0o700)


def test_a_guess_reads_the_checkpoint_alone_and_of_a_long_one_its_beginning(only, monkeypatch):
    read = []
    read_range = LocalStorage.read_range
    monkeypatch.setattr(
        LocalStorage,
        "read_range",
        lambda self, key, offset, length: (read.append((key, offset, length)), read_range(self, key, offset, length))[
            1
        ],
    )
    monkeypatch.setattr(LocalStorage, "read", None)
    assert AtlasBackendEntrypoint().guess_can_open(only)
    [(key, offset, length)] = read
    assert (key, offset) == ("atlas.json", 0)
    assert length <= 1 << 18


# ---- installed -------------------------------------------------------------------------------------------------------


def test_the_parameters_are_declared_one_by_one():
    for call in ("open_dataset", "open_datatree", "open_groups_as_dict"):
        parameters = inspect.signature(getattr(AtlasBackendEntrypoint, call)).parameters.values()
        assert not any(one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in parameters)
    names = tuple(inspect.signature(AtlasBackendEntrypoint.open_dataset).parameters)
    assert sorted(AtlasBackendEntrypoint.open_dataset_parameters) == sorted(set(names) - {"self"})
    assert AtlasBackendEntrypoint.supports_groups
    assert "atlas" in repr(AtlasBackendEntrypoint())


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what an installation says of itself beside the package, `*.dist-info`."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(build("build_wheel", tmp_path_factory.mktemp("wheel"))) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if ".dist-info/" in name])
    return folder


def test_an_installation_names_the_engine(installed):
    [info] = installed.glob("*.dist-info")
    entries = metadata.PathDistribution(info).entry_points.select(group="xarray.backends")
    assert [(entry.name, entry.load()) for entry in entries] == [("atlas", AtlasBackendEntrypoint)]


def test_xarray_finds_an_installed_engine_by_name_and_by_guess(installed, only):
    script = (
        "import sys, xarray as xr\n"
        "for options in ({'engine': 'atlas'}, {}):\n"
        "    with xr.open_dataset(sys.argv[1], **options) as ds:\n"
        "        print(float(ds.t.sum()), list(xr.open_datatree(sys.argv[1], **options).children))\n"
        "print(xr.backends.list_engines()['atlas'].description)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", script, str(only)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["15.0 ['only']", "15.0 ['only']", AtlasBackendEntrypoint.description]


class TestMany:
    @pytest.fixture
    def casts(self, place):
        with Atlas.create(place) as store:
            for at, levels in enumerate([3, 1, 4]):
                ds = xr.Dataset(
                    {
                        "salinity": ("level", np.arange(levels, dtype="i2") + at, {"scale_factor": 0.5}),
                        "lat": ((), 1.5 * at),
                        "when": ("level", np.arange(levels), {"units": "days since 2026-01-01"}),
                    },
                    {"level": np.arange(levels) + 10 * at},
                    {"ship": "abc"[at]},
                )
                store.add_xr_dataset(ds, f"cast{at}")
        return place

    @pytest.mark.parametrize("chunks", [None, {}, {"level": 2}])
    def test_many_datasets_are_opened_as_one_and_decoded(self, casts, chunks):
        with xr.open_dataset(casts, **ENGINE, combine="ragged", attributes=["ship"], chunks=chunks) as ds:
            assert (ds.chunks == {}) == (chunks is None)
            assert ds["salinity"].values.tolist() == [0, 0.5, 1, 0.5, 1, 1.5, 2, 2.5]
            assert ds["when"].values.astype("M8[D]").astype(str).tolist()[:4] == [
                "2026-01-01",
                "2026-01-02",
                "2026-01-03",
                "2026-01-01",
            ]
            assert ds["row_size"].values.tolist() == [3, 1, 4]
            assert ds["ship"].values.tolist() == ["a", "b", "c"]
            assert ds.encoding["source"] == str(casts)
        raw = xr.open_dataset(casts, **ENGINE, combine="ragged", decode_cf=False)
        assert raw["salinity"].values.tolist() == [0, 1, 2, 1, 2, 3, 4, 5]
        assert raw["salinity"].attrs == {"scale_factor": 0.5}

    @pytest.mark.parametrize("names", [["cast0", "cast2"], iter(["cast0", "cast2"]), "cast[02]"])
    def test_names_or_a_pattern_choose_which(self, casts, names):
        stacked = xr.open_dataset(casts, **ENGINE, names=names, drop_variables=["when", "salinity", "level"])
        assert stacked["dataset"].values.tolist() == ["cast0", "cast2"]
        assert list(stacked.data_vars) == ["lat"]

    def test_a_selection_may_be_in_another_order(self, casts):
        stacked = xr.open_dataset(casts, **ENGINE, names=["cast2", "cast0"], variables=["lat"])
        assert stacked["lat"].values.tolist() == [3, 0]

    def test_many_are_opened_along_their_dimension(self, casts):
        joined = xr.open_dataset(casts, **ENGINE, names="cast[01]", combine="concat", isel={"level": slice(0, 2)})
        assert joined["level"].values.tolist() == [0, 1, 10]
        assert list(joined.xindexes) == ["level"]
        assert joined["salinity"].sel(level=10).item() == 0.5
        assert xr.open_dataset(Atlas.open(casts), **ENGINE, names="cast1", version=1)["lat"].values.tolist() == [1.5]

    def test_labels_that_are_dates_in_numbers_are_decoded_and_indexed(self, place):
        with Atlas.create(place) as store:
            for at in range(2):
                time = xr.Variable("time", np.array([2 * at, 2 * at + 1]), {"units": "days since 2026-01-01"})
                store.add_xr_dataset(xr.Dataset({"t": ("time", [1.0, 2.0])}, {"time": time}), f"d{at}")
        ds = xr.open_dataset(place, **ENGINE, combine="concat", dim="time")
        assert ds["t"].sel(time="2026-01-03").item() == 1
        assert ds["time"].to_index().is_monotonic_increasing

    def test_it_pickles(self, casts):
        ds = xr.open_dataset(casts, **ENGINE, combine="ragged")
        assert_identical(pickle.loads(pickle.dumps(ds)).load(), ds.load())

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"dim": "level"}, r"dim= is of the arguments that open many datasets as one; say how, combine='stack'"),
            ({"group": "cast0", "combine": "ragged"}, "group='cast0' opens one dataset, and combine= is of those"),
            ({"combine": "merge"}, "combine is one of"),
            ({"names": "x*"}, "matches none of the 3 datasets"),
            ({"names": "x*", "drop_variables": ["lat"]}, "matches none of the 3 datasets"),
        ],
    )
    def test_arguments_that_do_not_go_together(self, casts, options, says):
        with pytest.raises(ValueError, match=says):
            xr.open_dataset(casts, **ENGINE, **options)
