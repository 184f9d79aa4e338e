"""Many datasets opened as one, lazily: stacked and ragged, beside NumPy, in versions, threads, processes and dask."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import (
    ArrayNotFoundError,
    DatasetNotFoundError,
    InvalidIndexError,
    InvalidTypeError,
    InvalidValueError,
    StaleHandleError,
)
from atlas.storage.memory import MemoryStorage

LENGTHS = [5, 0, 17, 1, 8, 8, 30]
NAMES = [f"p{at}" for at in range(len(LENGTHS))]


def profile(at, length):
    rng = np.random.default_rng(at)
    return xr.Dataset(
        {
            "t": (("level", "band"), rng.random((length, 3)).round(2).astype("f4"), {"units": "K"}),
            "word": ("level", np.array([f"{at}-{cell}" if cell % 3 else None for cell in range(length)], object)),
            "lat": ((), at * 1.5),
            "cal": ("k", np.array([at, 7])),
        },
        {"time": ((), np.datetime64("2026-01-01", "ns") + np.timedelta64(at, "D")), "level": np.arange(length) * 0.5},
        {"ship": "abc"[at % 3], "number": at, "title": "casts"},
    )


@pytest.fixture(scope="module")
def source():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for at, (name, length) in enumerate(zip(NAMES, LENGTHS, strict=True)):
        store.add_xr_dataset(profile(at, length), name, chunks={"level": 4})
    store.flush()
    return storage


@pytest.fixture
def profiles(source):
    return Atlas.open(source)


def flat(variable):
    cells = np.concatenate([profile(at, length)[variable].values for at, length in enumerate(LENGTHS)])
    return (
        np.array([cell if isinstance(cell, str) else None for cell in cells], object) if variable == "word" else cells
    )


class TestRagged:
    def test_what_lies_along_one_dimension_follows_one_another(self, profiles):
        ds = profiles.open_many(combine="ragged", attributes=["ship", "number"], feature_type="profile")
        assert dict(ds.sizes) == {"level": sum(LENGTHS), "band": 3, "dataset": 7, "k": 2}
        assert ds["row_size"].attrs["sample_dimension"] == "level"
        np.testing.assert_array_equal(ds["row_size"], LENGTHS)
        for variable in ("t", "word", "level"):
            np.testing.assert_array_equal(ds[variable].values, flat(variable))
        np.testing.assert_array_equal(ds["lat"], np.arange(7) * 1.5)
        assert ds["time"].dims == ("dataset",)
        assert ds["cal"].dims == ("dataset", "k")
        assert ds["ship"].values.tolist() == list("abcabca")
        assert ds["number"].dtype == np.int64
        assert ds["t"].attrs == {"units": "K"}
        assert (ds.attrs, ds["dataset"].attrs) == (
            {"title": "casts", "featureType": "profile"},
            {"cf_role": "profile_id"},
        )
        assert "level" in ds.coords
        assert list(ds.xindexes) == ["dataset"]

    def test_names_choose_and_order_the_datasets(self, profiles):
        ds = profiles.open_many(["p6", "p0"], combine="ragged", variables=["t"])
        np.testing.assert_array_equal(ds["t"], np.concatenate([profile(6, 30)["t"], profile(0, 5)["t"]]))
        assert set(ds.variables) == {"t", "time", "level", "row_size", "dataset"}
        with pytest.raises(DatasetNotFoundError, match="p9"):
            profiles.open_many(["p0", "p9"], combine="ragged")

    def test_names_may_come_from_an_iterator(self, profiles):
        ds = profiles.open_many(iter(["p1", "p2"]), combine="ragged", variables=iter(["t"]), attributes=iter(["ship"]))
        assert (ds["t"].sizes["level"], ds["ship"].values.tolist()) == (17, ["b", "c"])
        assert "word" not in ds
        stacked = profiles.to_xarray_many(iter(["p1", "p2"]), variables=iter(["lat"]))
        assert list(stacked.data_vars) == ["lat"]

    def test_a_pattern_chooses_the_datasets(self, profiles):
        ds = profiles.open_many("p[!4]", variables=["lat"])
        assert ds["dataset"].values.tolist() == ["p0", "p1", "p2", "p3", "p5", "p6"]
        assert profiles.open_many("p3", combine="ragged", dim="level")["row_size"].values.tolist() == [1]

    def test_it_is_written_to_netcdf_as_it_stands(self, profiles, tmp_path):
        ds = profiles.open_many(combine="ragged", feature_type="profile")
        ds.drop_vars("word").to_netcdf(tmp_path / "ragged.nc")
        with xr.open_dataset(tmp_path / "ragged.nc") as back:
            xr.testing.assert_equal(back.load(), ds.drop_vars("word").load())
            assert back.attrs["featureType"] == "profile"
            assert back["row_size"].attrs["sample_dimension"] == "level"

    def test_a_file_names_the_coordinates_of_ragged_cells(self, tmp_path):
        store = Atlas.create(MemoryStorage())
        for at, length in enumerate([2, 3]):
            ds = profile(at, length).rename(level="depth").set_coords("lat").assign_coords(band=[1, 2, 3], crs=0)
            ds = ds.assign_coords({"two words": 1.0, "quality": (("depth", "band"), np.zeros((length, 3)))})
            ds["t"].encoding |= {"coordinates": "lat lost", "grid_mapping": "crs", "zlib": True}
            store.add_xr_dataset(ds, f"p{at}")
        store.flush()
        ds = store.open_many(combine="ragged", variables=["t", "word", "lat", "cal"], feature_type="profile")
        assert ds["t"].encoding == {"coordinates": "depth lat quality time", "grid_mapping": "crs", "zlib": True}
        assert ds["word"].encoding == {"coordinates": "depth lat time"}
        assert ds["cal"].encoding == ds["depth"].encoding == {}
        ds.drop_vars("two words").to_netcdf(tmp_path / "ragged.nc")
        with xr.open_dataset(tmp_path / "ragged.nc", decode_coords=False) as back:
            assert back["t"].attrs["coordinates"] == "depth lat quality time"
        with xr.open_dataset(tmp_path / "ragged.nc") as back:
            assert set(back.coords) == {"band", "dataset", "depth", "lat", "quality", "time"}
        plain = store.open_many(combine="ragged", variables=["t", "lat"])
        assert plain["t"].encoding == {"coordinates": "lat lost", "grid_mapping": "crs", "zlib": True}

    def test_what_some_datasets_lack(self):
        store = Atlas.create(MemoryStorage())
        for at, name in enumerate("abc"):
            ds = profile(at, 4).drop_vars(["t"] if name == "b" else [])
            store.add_xr_dataset(ds, name)
        store.flush()
        with pytest.raises(ArrayNotFoundError, match="dataset 'b' has no array 't'"):
            store.open_many(combine="ragged", dim="level")
        assert "t" not in store.open_many(combine="ragged", dim="level", missing="drop")
        filled = store.open_many(combine="ragged", dim="level", missing="fill")["t"]
        np.testing.assert_array_equal(np.isnan(filled.values[:, 0]), [False] * 4 + [True] * 4 + [False] * 4)
        np.testing.assert_array_equal(filled[5:10].values[3:], profile(2, 4)["t"][:2])

    def test_cells_keep_their_meaning(self):
        store = Atlas.create(MemoryStorage())
        for name, scale in (("a", 0.5), ("b", 0.25)):
            store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([2, 4, 8], "i2"), {"scale_factor": scale})}), name)
        for name, units in (("k", "K"), ("c", "degC")):
            store.add_xr_dataset(xr.Dataset({"u": ("x", np.zeros(3 + len(units)), {"units": units})}), name)
        store.flush()
        cells = store.open_many(["a", "b"], combine="ragged", dim="x")["t"]
        assert (cells.dtype, cells.values.tolist()) == (np.float64, [1, 2, 4, 0.5, 1, 2])
        assert cells[4:].values.tolist() == [1, 2]
        assert "scale_factor" not in cells.attrs
        with pytest.raises(InvalidValueError, match="array 'u' has units 'K' in dataset 'k' and 'degC' in"):
            store.open_many(["k", "c"], combine="ragged")

    def test_dates_of_different_references_are_decoded(self):
        store = Atlas.create(MemoryStorage())
        for name, units in (("a", "days since 2000-01-01"), ("b", "hours since 2001-01-01")):
            store.add_xr_dataset(xr.Dataset({"when": ("x", np.array([1, 48, 72]), {"units": units})}), name)
        store.flush()
        for combine in ("ragged", "stack"):
            opened = store.open_many(combine=combine, dim="x" if combine == "ragged" else None)["when"]
            assert opened.dtype.kind == "M"
            expected = store.to_xarray_many(["a", "b"])["when"].values
            np.testing.assert_array_equal(opened.values.reshape(2, 3), expected)
            np.testing.assert_array_equal(opened[1:].values.reshape(-1)[-2:], expected.reshape(-1)[-2:])

    def test_a_cell_that_the_dtype_does_not_keep_is_refused_when_it_is_read(self):
        store = Atlas.create(MemoryStorage())
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([1, 2**53 + 1]))}), "a")
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([0.5, 1]))}), "b")
        store.add_xr_dataset(xr.Dataset({"s": ("x", np.array([b"ab", b"c"]))}), "c")
        store.flush()
        cells = store.open_many(["a", "b"], combine="ragged", dim="x")["t"]
        assert cells[[0, 2, 3]].values.tolist() == [1, 0.5, 1]
        with pytest.raises(InvalidValueError, match="holds integers of int64 that float64 does not keep"):
            _ = cells[1].values
        store["c"].write_array("s", [0], np.array([b"longer"], object))
        store.flush()
        with pytest.raises(InvalidValueError, match=r"xarray dtype .S2 cannot represent"):
            _ = store.open_many(["c"], combine="ragged", dim="x")["s"].values

    @pytest.mark.filterwarnings("ignore:Duplicate dimension names")
    def test_a_dimension_that_an_array_has_twice(self):
        store = Atlas.create(MemoryStorage())
        for at, name in enumerate("ab"):
            view = store.create_dataset(name)
            view.define_array("c", "int64", ["x", "x"], [3, 3])
            view.write_array("c", [0, 0], np.arange(9).reshape(3, 3) + at)
        store.flush()
        found = store.open_many().variables["c"][:, 1:, :2].values
        np.testing.assert_array_equal(found, [[[3, 4], [6, 7]], [[4, 5], [7, 8]]])

    def test_the_dimension_is_found_or_asked_for(self, profiles):
        same = Atlas.create(MemoryStorage())
        for name in "ab":
            same.add_xr_dataset(profile(1, 6).drop_vars("cal"), name)
        same.flush()
        assert same.open_many(combine="ragged").sizes["level"] == 12
        assert same.open_many(combine="ragged", dim="level").sizes["level"] == 12
        with pytest.raises(InvalidValueError, match=r"'t' of dataset 'a' has the dimensions .* 'band' first"):
            same.open_many(combine="ragged", dim="band")
        with pytest.raises(InvalidValueError, match="dim 'depth' is no dimension of these datasets"):
            profiles.open_many(combine="ragged", dim="depth")
        with pytest.raises(InvalidValueError, match="no lengths differ, and arrays begin with 'level', 'k': name"):
            profiles.open_many(["p4", "p5"], combine="ragged")
        assert profiles.open_many(["p4", "p5"], combine="ragged", dim="level").sizes["level"] == 16

    def test_arrays_of_one_dataset_agree_in_length(self):
        store = Atlas.create(MemoryStorage())
        view = store.create_dataset("a")
        for name, length in (("t", 3), ("u", 4)):
            view.define_array(name, "f4", ["x"], [length])
        store.flush()
        with pytest.raises(InvalidValueError, match="dataset 'a' has 3 cells along 'x' in array 't' and 4 in 'u'"):
            store.open_many(combine="ragged", dim="x")

    def test_a_name_that_is_taken(self, profiles):
        store = Atlas.create(MemoryStorage())
        store.add_xr_dataset(xr.Dataset({"row_size": ("x", [1, 2])}), "a")
        store.add_xr_dataset(xr.Dataset({"t": ("dataset", [1, 2])}), "b")
        store.flush()
        with pytest.raises(InvalidValueError, match="have an array 'row_size'"):
            store.open_many(["a"], combine="ragged")
        with pytest.raises(InvalidValueError, match="'dataset' is an array or a dimension of these datasets"):
            store.open_many(["b"], combine="ragged")


class TestStacked:
    def test_it_is_what_to_xarray_many_reads(self, profiles):
        names, wanted = ["p4", "p5"], ["t", "word", "lat", "cal"]
        expected = profiles.to_xarray_many(names, variables=wanted)
        xr.testing.assert_identical(profiles.open_many(names, variables=wanted).load(), expected)
        expected = profiles.to_xarray_many(names, "cast", variables=["lat"], combine_attrs="override")
        opened = profiles.open_many(names, dim="cast", variables=["lat"], combine_attrs="override")
        xr.testing.assert_identical(opened.load(), expected)

    def test_attributes_become_columns(self, profiles):
        ds = profiles.open_many(variables=["lat"], attributes=True)
        assert ds["title"].values.tolist() == ["casts"] * 7
        assert ds["number"].values.tolist() == list(range(7))
        assert ds.attrs == {}
        assert set(ds.data_vars) == {"lat", "ship", "number", "title"}
        store = Atlas.create(MemoryStorage())
        for name in "abc":
            store.create_dataset(name)
        store["a"].set_attribute("n", 5)
        store["a"].set_attribute("ok", value=True)
        store["b"].set_attribute("big", 2**60 + 1)
        store.flush()
        ds = store.open_many(attributes=["n", "ok", "big"])
        np.testing.assert_array_equal(ds["n"], [5, np.nan, np.nan])
        assert ds["ok"].values.tolist() == [True, None, None]
        assert ds["big"].values.tolist() == [None, 2**60 + 1, None]
        with pytest.raises(InvalidValueError, match="none of the datasets has an attribute 'm'"):
            store.open_many(attributes=["m"])
        store["c"].set_attribute("dataset", 1)
        store.flush()
        with pytest.raises(InvalidValueError, match="attribute 'dataset' has the name of a variable"):
            store.open_many(attributes=True)

    def test_arrays_without_dimensions_become_columns(self):
        store = Atlas.create(MemoryStorage())
        for name, lat in (("a", 1.5), ("b", None), ("c", 2.5)):
            ds = xr.Dataset({"t": ("x", [1.0]), "u": ("x", [2.0])})
            store.add_xr_dataset(ds if lat is None else ds.assign(lat=lat), name)
        store.flush()
        for ds in (
            store.open_many(variables=["t"], attributes=["lat"]),
            store.open_many(variables=["t"], attributes=True),
            store.open_many(["c", "a", "b"], variables=["t"], attributes=["lat"], combine="ragged").isel(
                dataset=[1, 2, 0]
            ),
        ):
            np.testing.assert_array_equal(ds["lat"], [1.5, np.nan, 2.5])
            assert "u" not in ds
        with pytest.raises(ArrayNotFoundError, match="dataset 'b' has no array 'lat'"):
            store.open_many(variables=["t", "lat"])
        with pytest.raises(InvalidValueError, match=r"attributes names 'u', an array with the dimensions \['x'\]"):
            store.open_many(attributes=["u"])

    def test_axes_in_another_order_than_the_first(self):
        store = Atlas.create(MemoryStorage())
        cells = np.arange(9.0).reshape(3, 3)
        store.add_xr_dataset(xr.Dataset({"t": (("x", "y"), cells)}), "a")
        store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), cells.T)}), "b")
        store.flush()
        found = store.open_many()["t"]
        np.testing.assert_array_equal(found[1], cells)
        np.testing.assert_array_equal(found[1:, 1:, 2], cells[None, 1:, 2])
        np.testing.assert_array_equal(found, [cells, cells])

    def test_lengths_that_differ_are_refused(self, profiles):
        with pytest.raises(InvalidValueError, match=r"has the shape .* in dataset 'p0' and .* in dataset 'p1'"):
            profiles.open_many(variables=["t"])


@st.composite
def keys(draw, lengths):
    """An index of each axis, each by itself."""
    entries = []
    for length in lengths:
        kind = draw(st.sampled_from(["slice", "list", "int", "all"]))
        if kind == "slice":
            entries.append(draw(st.slices(length)))
        elif kind == "list":
            entries.append(draw(st.lists(st.integers(-length, length - 1), max_size=6)))
        elif kind == "int":
            entries.append(draw(st.integers(-length, length - 1)))
        else:
            entries.append(slice(None))
    return entries


class TestSelections:
    @given(data=st.data())
    @settings(max_examples=150, deadline=None)
    def test_any_selection_of_ragged_cells(self, source, data):
        variable = data.draw(st.sampled_from(["t", "word", "level"]))
        expected = flat(variable)
        key = data.draw(keys(expected.shape))
        opened = Atlas.open(source).open_many(combine="ragged").variables[variable]
        for axis, entry in reversed(list(enumerate(key))):
            expected = expected[(slice(None),) * axis + (entry,)]
        np.testing.assert_array_equal(opened[tuple(key)].values, expected)

    @given(data=st.data())
    @settings(max_examples=80, deadline=None)
    def test_any_selection_of_a_stack(self, source, data):
        names = data.draw(st.permutations(["p4", "p5"]))
        expected = Atlas.open(source).to_xarray_many(names, variables=["t"]).variables["t"]
        key = tuple(data.draw(keys(expected.shape)))
        found = Atlas.open(source).open_many(names, variables=["t"]).variables["t"][key]
        np.testing.assert_array_equal(found.values, expected[key].values)

    def test_points(self, profiles):
        cells = profiles.open_many(combine="ragged")["t"]
        level, band = (xr.DataArray(entry, dims="point") for entry in ([3, 40, 3, 68], [0, 2, 1, 1]))
        np.testing.assert_array_equal(cells.isel(level=level, band=band), flat("t")[[3, 40, 3, 68], [0, 2, 1, 1]])

    def test_an_index_out_of_bounds(self, profiles):
        # xarray 2025.6 finds it before the store is asked.
        said = "index 69 is out of bounds for an axis of 69 cells|range object index out of range"
        with pytest.raises(IndexError, match=said):
            _ = profiles.open_many(combine="ragged")["t"][69].values

    def test_only_the_datasets_wanted_are_read_and_each_once(self, source, monkeypatch):
        store = Atlas.open(source)
        cells = store.open_many(combine="ragged")["t"]
        asked, reader = [], store._session.reader
        original = type(reader).read_ragged

        def counted(self, array, names, start, shape, spans=None):
            asked.append((names, spans.tolist(), start, shape[1:]))
            return original(self, array, names, start, shape, spans)

        monkeypatch.setattr(type(reader), "read_ragged", counted)
        _ = cells[3:24, 1:].values
        _ = cells.isel(level=[68, 6, 6, 10], band=[2, 0]).values
        _ = cells[0:0].values
        assert asked == [
            (["p0", "p2", "p3", "p4"], [[3, 2], [0, 17], [0, 1], [0, 1]], [0, 1], [2]),
            (["p2", "p6"], [[1, 5], [29, 1]], [0, 0], [3]),
        ]


EACH = {"ragged": {}, "stack": {}, "concat": {"variables": ["t", "word"], "sort": False}}
"""Options with which profiles, whose labels overlap, are opened in each shape."""


@pytest.mark.filterwarnings("ignore:the labels 'level' are in no order")
class TestVersions:
    def test_pending_changes_have_no_version(self, profiles):
        profiles["p0"].set_attribute("x", 1)
        with pytest.raises(InvalidValueError, match=r"call flush\(\) before open_many\(\)"):
            profiles.open_many(combine="ragged")

    @pytest.mark.parametrize("combine", ["ragged", "stack", "concat"])
    def test_it_stays_what_it_was(self, tmp_path, combine, monkeypatch):
        store = Atlas.create(tmp_path / "store")
        for at, name in enumerate("ab"):
            store.add_xr_dataset(profile(at, 4), name)
        store.flush()
        opened = store.open_many(combine=combine, dim=None if combine == "stack" else "level", **EACH[combine])
        expected = opened.copy().load()
        stays = pickle.dumps(opened)
        store["a"].write_array("t", [0, 0], np.full((4, 3), 9, "f4"))
        assert opened["t"][..., :2].load().equals(expected["t"][..., :2])
        store.delete_dataset("b")
        store.flush()
        xr.testing.assert_identical(opened.copy().load(), expected)
        xr.testing.assert_identical(pickle.loads(stays).load(), expected)
        store.compact(keep_days=0)
        monkeypatch.setattr("atlas.session._reopened", {})  # as in another process
        with pytest.raises(StaleHandleError, match=r"cannot be opened again: .* keeps versions 3 to 3"):
            opened["t"].load()

    def test_an_earlier_version(self, tmp_path):
        store = Atlas.create(tmp_path / "store")
        for at, name in enumerate("ab"):
            store.add_xr_dataset(profile(at, 3 + at), name)
            store.flush()
        assert Atlas.open(tmp_path / "store", version=1).open_many(combine="ragged", dim="level").sizes["level"] == 3
        assert store.open_many(combine="ragged").sizes["level"] == 7


class TestBlocks:
    @pytest.mark.parametrize(
        "chunks", ["auto", {"dataset": 3}, {"level": 10}, {"level": -1, "band": 2}, {"dataset": -1}]
    )
    def test_blocks_hold_what_the_variables_do(self, profiles, chunks):
        ds = profiles.open_many(combine="ragged", chunks=chunks)
        for variable in ("t", "word", "level"):
            assert ds[variable].chunks is not None
            np.testing.assert_array_equal(ds[variable].values, flat(variable))
            again = profiles.open_many(combine="ragged", chunks=chunks)[variable]
            assert again.data.name == ds[variable].data.name
        assert ds["lat"].chunks is None

    def test_blocks_are_whole_datasets(self, profiles):
        ds = profiles.open_many(combine="ragged", chunks={"dataset": 3})
        assert ds["t"].chunks == ((22, 17, 30), (3,))
        assert len(dict(ds["t"].data.__dask_graph__())) <= 4
        import dask  # noqa: PLC0415 - only here

        with dask.config.set({"array.chunk-size": "300 B"}):
            lengths = profiles.open_many(combine="ragged", chunks="auto")["t"].chunks[0]
        edges = set(np.cumsum(LENGTHS).tolist())
        assert set(np.cumsum(lengths).tolist()) <= edges
        assert len(lengths) > 1

    def test_a_stack_in_blocks(self, profiles):
        ds = profiles.open_many(variables=["lat", "cal"], chunks={"dataset": 2})
        assert ds["cal"].chunks == ((2, 2, 2, 1), (2,))
        np.testing.assert_array_equal(ds["cal"], [[at, 7] for at in range(7)])
        assert float(ds["lat"].mean()) == 4.5

    @pytest.mark.filterwarnings("default")
    def test_blocks_of_every_shape_run_in_a_cluster(self, tmp_path):
        distributed = pytest.importorskip("distributed")
        store = Atlas.create(tmp_path / "store")
        for at, length in enumerate(LENGTHS):
            store.add_xr_dataset(profile(at, length)[["t"]].drop_vars("level"), f"p{at}")
        store.flush()
        opened = {
            "ragged": store.open_many(combine="ragged", chunks={"dataset": 4}),
            "concat": store.open_many(combine="concat", chunks={"level": 20}),
            "stack": store.open_many(missing="fill", chunks={"dataset": 3}),
        }
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=2, dashboard_address=None, local_directory=str(tmp_path / "work")
            ) as cluster,
            distributed.Client(cluster),
        ):
            found = {shape: ds["t"].values for shape, ds in opened.items()}
            assert float(opened["stack"]["t"].mean()) == pytest.approx(flat("t").mean(), rel=1e-6)
        np.testing.assert_array_equal(found["ragged"], flat("t"))
        np.testing.assert_array_equal(found["concat"], flat("t"))
        for row, length, at in zip(found["stack"], LENGTHS, range(7), strict=True):
            np.testing.assert_array_equal(row[:length], profile(at, length)["t"])
            assert np.isnan(row[length:]).all()

    def test_blocks_run_in_other_processes(self, tmp_path):
        store = Atlas.create(tmp_path / "store")
        for at, length in enumerate(LENGTHS):
            store.add_xr_dataset(profile(at, length), f"p{at}")
        store.flush()
        data = store.open_many(combine="ragged", chunks={"dataset": 4})["t"].data
        np.testing.assert_array_equal(data.compute(scheduler="processes", num_workers=2), flat("t"))

    @pytest.mark.parametrize(
        ("chunks", "error", "says"),
        [
            (3, InvalidTypeError, "chunks is None, 'auto' or a mapping"),
            ({"depth": 3}, InvalidValueError, "chunks names 'depth', which is no dimension of the result"),
            ({"level": 0}, InvalidValueError, "give a length from 1 on, or -1"),
            ({"level": "x"}, InvalidValueError, "give a length from 1 on, or -1"),
            ({"level": (3, 4)}, InvalidValueError, "chunks does not fit variable"),
        ],
    )
    def test_chunks_that_cannot_be(self, profiles, chunks, error, says):
        with pytest.raises(error, match=says):
            profiles.open_many(combine="ragged", chunks=chunks)


def test_many_threads_read_one(profiles):
    opened, expected = profiles.open_many(combine="ragged")["t"], flat("t")

    def read(seed):
        first, last = sorted(np.random.default_rng(seed).integers(0, len(expected), 2).tolist())
        np.testing.assert_array_equal(opened[first:last].values, expected[first:last])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(200)))


def test_it_is_loaded_in_an_event_loop(profiles):
    ds = profiles.open_many(combine="ragged")
    if not hasattr(ds, "load_async"):
        pytest.skip("this version of xarray has no load_async")
    loaded = asyncio.run(ds.load_async())
    np.testing.assert_array_equal(loaded["t"], flat("t"))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"combine": "merge"}, InvalidValueError, "combine is one of 'stack', 'concat', 'ragged', not 'merge'"),
        ({"combine": "concat", "attributes": True}, InvalidValueError, "combine='concat' makes none"),
        ({"sort": "no"}, InvalidTypeError, "sort is True or False"),
        ({"isel": 3}, InvalidTypeError, "isel maps dimensions to positions"),
        ({"isel": {"level": [1]}}, InvalidTypeError, r"isel has \[1\] for 'level'; give an integer or a slice"),
        ({"isel": {"level": slice(0, 4, 2)}}, InvalidValueError, "takes slices of step 1"),
        ({"isel": {"height": 0}}, InvalidValueError, "isel names 'height', which is no dimension"),
        ({"isel": {"level": 5}}, InvalidIndexError, "isel takes the position 5 along 'level', and .* has 5 cells"),
        ({"combine": 3}, InvalidValueError, "combine is one of"),
        ({"join": "outer"}, InvalidValueError, r"join is one of .*; to_xarray_many\(\) aligns labels"),
        ({"dim": 3}, InvalidTypeError, "dim is the name of a dimension"),
        ({"feature_type": "profile"}, InvalidValueError, "use it with combine='ragged'"),
        ({"feature_type": "point", "combine": "ragged"}, InvalidValueError, "feature_type is one of"),
        ({"missing": "no"}, InvalidValueError, "missing is one of"),
        ({"names": []}, InvalidValueError, "names is empty"),
        ({"names": 3}, InvalidTypeError, "names"),
        ({"names": "x*"}, InvalidValueError, r"names='x\*' matches none of the 7 datasets; .* as in names='p\*'"),
        ({"variables": ["no"]}, ArrayNotFoundError, "variables names 'no'"),
        ({"attributes": "ship"}, InvalidTypeError, "attributes"),
        ({"combine_attrs": "x"}, InvalidValueError, "combine_attrs is one of"),
    ],
)
def test_options_that_are_none(profiles, options, error, says):
    with pytest.raises(error, match=says):
        profiles.open_many(**options)


def test_a_store_without_datasets():
    with pytest.raises(InvalidValueError, match="the store holds no dataset; add one"):
        Atlas.create(MemoryStorage()).open_many()
