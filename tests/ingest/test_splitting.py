"""Splitting one dataset into many: positions of a dimension, values of a variable, ragged arrays of CF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cftime
import dask.array as da
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidValueError
from atlas.ingest.reading import ReadOptions, read_file
from atlas.ingest.splitting import part_name, split_dataset
from atlas.xarray import dataset_of

if TYPE_CHECKING:
    from pathlib import Path


def objects(*cells):
    out = np.empty(len(cells), object)
    out[:] = cells
    return out


def stations():
    """Three stations with the same times: an orthogonal multidimensional array, filled at the end."""
    t = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
    ds = xr.Dataset(
        {
            "t": (("station", "time"), t, {"units": "K"}, {"_FillValue": -9, "dtype": "i2", "scale_factor": 0.5}),
            "alt": ("station", [10, 20, 30]),
            "crs": ((), 0, {"grid_mapping_name": "latitude_longitude"}),
        },
        {
            "time": (
                "time",
                np.array(["2024-01-01", "2024-01-02"], "M8[ns]"),
                {"axis": "T"},
                {"units": "days since 1970"},
            )
        },
        {"title": "demo"},
    )
    ds["station"] = ("station", objects("north ", " south", "east\0"), {"cf_role": "timeseries_id"})
    return ds.set_coords("station")


def contiguous(names=("a", "b", "c"), sizes=(2, 0, 3), **attrs):
    """Profiles one after another, and how long each of them is."""
    total = sum(sizes)
    return xr.Dataset(
        {
            "name": ("profile", objects(*names)),
            "lat": ("profile", 50.0 + np.arange(len(names))),
            "row_size": ("profile", np.array(sizes), {"sample_dimension": "obs", **attrs}),
            "t": ("obs", np.arange(float(total))),
            "spectrum": (("obs", "band"), np.arange(2 * total).reshape(total, 2)),
            "wave": ("band", [0.5, 0.7]),
        },
        attrs={"featureType": "profile"},
    )


def indexed(names=("a", "b", "c"), index=(2, 0, 2, 0, 2)):
    """Rows in any order, each with the position of its station."""
    return xr.Dataset(
        {
            "name": ("station", objects(*names)),
            "lat": ("station", 50.0 + np.arange(len(names))),
            "station_index": ("obs", np.array(index, "i4"), {"instance_dimension": "station"}),
            "t": ("obs", np.arange(float(len(index)))),
        }
    )


def deep():
    """Two stations with three profiles of 2, 1 and 3 levels: CF, H.5.3."""
    return xr.Dataset(
        {
            "name": ("station", objects("x", "y")),
            "station_index": ("profile", [1, 0, 1], {"instance_dimension": "station"}),
            "date": ("profile", [10, 20, 30]),
            "row_size": ("profile", [2, 1, 3], {"sample_dimension": "obs"}),
            "t": ("obs", np.arange(6.0)),
        }
    )


def argo(numbers=("6901602 ", "6901603 ", "6901602 ")):
    return xr.Dataset(
        {
            "PLATFORM_NUMBER": ("N_PROF", np.array(numbers, "S8")),
            "CYCLE_NUMBER": ("N_PROF", [1, 1, 2]),
            "TEMP": (("N_PROF", "N_LEVELS"), np.arange(6.0).reshape(3, 2)),
            "DATA_TYPE": ((), np.array("Argo profile", "S16")),
        }
    )


def split(ds, **how):
    return dict(split_dataset(ds, **how))


def refused(ds, **how):
    with pytest.raises(InvalidValueError) as caught:
        split_dataset(ds, **how)
    return str(caught.value)


def test_the_name_of_a_part():
    assert part_name("2024.casts", "north") == "2024.casts.north"


class TestAlong:
    def test_each_position_becomes_a_dataset_without_the_dimension(self):
        parts = list(split_dataset(stations(), along="station"))
        assert [label for label, _ in parts] == ["north", "south", "east"]
        south = parts[1][1]
        assert dict(south.sizes) == {"time": 2}
        np.testing.assert_array_equal(south["t"], [3, np.nan])
        assert south["t"].dims == ("time",)
        assert south["alt"].item() == 20
        assert south["station"].item() == " south"
        assert "station" in south.coords
        assert list(south.variables) == list(stations().variables)

    def test_what_lacks_the_dimension_is_in_every_part(self):
        for part in split(stations(), along="station").values():
            assert part["crs"].attrs == {"grid_mapping_name": "latitude_longitude"}
            assert part.indexes["time"].equals(stations().indexes["time"])

    def test_attributes_and_encodings_are_kept(self):
        part = split(stations(), along="station")["north"]
        assert part.attrs == {"title": "demo"}
        assert part["t"].attrs == {"units": "K"}
        assert part["t"].encoding == {"_FillValue": -9, "dtype": "i2", "scale_factor": 0.5}
        assert part["time"].encoding == {"units": "days since 1970"}

    def test_encodings_that_describe_the_whole_are_not(self):
        ds = stations()
        ds["t"].encoding |= {"chunksizes": (3, 1), "original_shape": (3, 2), "preferred_chunks": {"station": 3}}
        ds["time"].encoding |= {"chunksizes": (512,)}
        ds.encoding = {"unlimited_dims": {"station", "time"}, "source": "a.nc"}
        part = split(ds, along="station")["north"]
        assert part["t"].encoding == {"_FillValue": -9, "dtype": "i2", "scale_factor": 0.5}
        assert part["time"].encoding["chunksizes"] == (512,)
        assert part.encoding == {"unlimited_dims": {"time"}, "source": "a.nc"}
        assert ds["t"].encoding["chunksizes"] == (3, 1)
        assert ds.encoding["unlimited_dims"] == {"station", "time"}

    def test_times_of_each_station(self):
        """An incomplete multidimensional array of CF whose times are named as their dimension."""
        ds = stations().drop_vars("time")
        times = np.array([["2024-01-01", "NaT"], ["2024-01-02", "2024-01-03"], ["2024-01-04", "NaT"]], "M8[ns]")
        ds = ds.assign_coords({"time": (("station", "time"), times)})
        parts = split(ds, along="station")
        assert parts["south"]["t"].sel(time="2024-01-02").item() == 3
        assert np.isnat(parts["north"]["time"].values).tolist() == [False, True]

    def test_a_dimension_that_is_not_first(self):
        ds = stations().transpose("time", "station")
        np.testing.assert_array_equal(split(ds, along="station")["east"]["t"], [5, 6])

    def test_cf_roles_name_what_has_no_coordinate(self):
        ds = stations().drop_vars("station")
        ds["id"] = ("station", [7, 8, 9], {"cf_role": "timeseries_id"})
        assert list(split(ds, along="station")) == ["7", "8", "9"]
        ds["cast"] = ("station", [1, 2, 3], {"cf_role": "profile_id"})
        assert list(split(ds, along="station")) == ["1", "2", "3"]

    def test_a_role_that_lies_elsewhere_names_nothing(self):
        ds = stations().drop_vars("station")
        ds["id"] = (("station", "time"), np.arange(6).reshape(3, 2), {"cf_role": "profile_id"})
        ds["other"] = ("time", [1, 2], {"cf_role": "timeseries_id"})
        assert list(split(ds, along="station")) == ["0", "1", "2"]

    def test_a_dimension_that_is_unknown(self):
        message = refused(stations(), along="stations")
        assert message == "'stations' is no dimension of the dataset; split along one of ['station', 'time']"

    def test_a_dimension_without_positions(self):
        message = refused(stations().isel(station=slice(0)), along="station")
        assert message == "a dimension that is split has positions, and 'station' has none; add the dataset whole"

    @pytest.mark.parametrize("how", [{}, {"along": "station", "by": "alt"}])
    def test_one_of_both_is_given(self, how):
        assert "give one of them" in refused(stations(), **how)

    def test_labels_that_repeat(self):
        ds = stations().assign_coords(station=["a", "b", "a "])
        assert refused(ds, along="station") == (
            "each position of 'station' becomes a dataset named by 'station', and 'a' names the positions 0, 2; "
            "split by='station' puts those into one dataset"
        )

    @pytest.mark.parametrize("missing", [None, np.nan, "", " \0 "])
    def test_labels_that_are_missing(self, missing):
        ds = stations().drop_vars("station").assign(station=("station", objects("a", missing, missing)))
        assert "2 of 3 are missing, at 1, 2; fill these in" in refused(ds, along="station")

    def test_filled_ends_stay(self):
        assert all(part.sizes == {"time": 2} for part in split(stations(), along="station").values())

    def test_rows_of_a_contiguous_ragged_array_go_with_their_instance(self):
        parts = split(contiguous(), along="profile")
        assert list(parts) == ["0", "1", "2"]
        assert [part["t"].values.tolist() for part in parts.values()] == [[0, 1], [], [2, 3, 4]]
        assert parts["2"]["spectrum"].values.tolist() == [[4, 5], [6, 7], [8, 9]]
        assert set(parts["0"].variables) == {"name", "lat", "t", "spectrum", "wave"}
        assert parts["2"]["lat"].item() == 52

    def test_rows_of_an_indexed_ragged_array_go_with_their_instance(self):
        parts = split(indexed(), along="station")
        assert [part["t"].values.tolist() for part in parts.values()] == [[1, 3], [], [0, 2, 4]]
        assert set(parts["0"].variables) == {"name", "lat", "t"}

    def test_rows_of_indexed_ragged_arrays_can_be_split_themselves(self):
        parts = split(indexed(), along="obs")
        assert [part["station_index"].item() for part in parts.values()] == [2, 0, 2, 0, 2]
        assert parts["1"]["lat"].values.tolist() == [50, 51, 52]

    def test_rows_whose_lengths_would_be_wrong(self):
        assert refused(contiguous(), along="obs") == (
            "'row_size' has the lengths of rows along 'obs', and would be wrong for parts of them; split along "
            "['profile'], or by a variable along one of them"
        )


class TestLabels:
    def labels(self, cells, **attrs):
        ds = xr.Dataset({"x": ("row", cells, attrs), "t": ("row", np.arange(len(cells)))})
        return list(split(ds, by="x"))

    @pytest.mark.parametrize(
        ("cells", "labels"),
        [
            (np.array([3, 1, 3], "i2"), ["3", "1"]),
            (np.array([3, 1], ">i4"), ["3", "1"]),
            (np.array([2**64 - 1], "u8"), ["18446744073709551615"]),
            (np.array([6901602.0, 0.1, -2.5, -0.0, 0.0]), ["6901602", "0.1", "-2.5", "0"]),
            (np.array([0.1, 16777216], "f4"), ["0.1", "16777216"]),
            (np.array([1e300, 9007199254740993.0, np.inf]), ["1e+300", "9007199254740992", "inf"]),
            (np.array([True, False]), ["True", "False"]),
            (np.array(["b ", "a", "b"]), ["b", "a"]),
            (np.array([b"6901602 ", b"6901602"]), ["6901602"]),
            (np.array(["zürich".encode(), b"a"]), ["zürich", "a"]),
            (objects("b", b"b ", "c\0\0"), ["b", "c"]),
            (np.array(["x", "y "], np.dtypes.StringDType()), ["x", "y"]),
            (np.array(["2024-01-01", "2024-01-01T12:30", "2024-01-01T00:00:00.5"], "M8[ns]"),
             ["2024-01-01", "2024-01-01T12:30", "2024-01-01T00:00:00.500"]),
            (np.array([6, 90], "m8[m]").astype("m8[ns]"), ["P0DT0H6M0S", "P0DT1H30M0S"]),
            (objects(cftime.DatetimeNoLeap(2000, 2, 3), cftime.DatetimeNoLeap(2000, 2, 3, 6, 30),
                     cftime.DatetimeNoLeap(2000, 2, 3, 0, 0, 1)),
             ["2000-02-03", "2000-02-03T06:30", "2000-02-03T00:00:01"]),
            (np.array(["AR07W/1990", "a b:c"]), ["AR07W.1990", "a b:c"]),
        ],
    )  # fmt: skip
    def test_of_values(self, cells, labels):
        assert self.labels(cells) == labels

    def test_rows_of_characters_are_texts(self):
        cells = np.array([[b"a", b"b", b" "], [b"c", b"", b""], [b"a", b"b", b""]], "S1")
        ds = xr.Dataset({"id": (("station", "letter"), cells), "t": ("station", [1, 2, 3])})
        parts = split(ds, by="id")
        assert {label: part["t"].values.tolist() for label, part in parts.items()} == {"ab": [1, 3], "c": [2]}
        ds["station"] = ("station", [4, 5, 6])
        assert list(split(ds, along="station")) == ["4", "5", "6"]

    def test_rows_of_no_characters_are_missing(self):
        ds = xr.Dataset({"id": (("station", "letter"), np.empty((2, 0), "S1")), "t": ("station", [1, 2])})
        assert "2 of 2 are missing" in refused(ds, by="id")

    @pytest.mark.parametrize("label", ["_hidden", ".", "..", "a\0b", "\ud800"])
    def test_that_name_no_dataset(self, label):
        ds = xr.Dataset({"id": ("row", objects("a", label))})
        message = refused(ds, by="id")
        assert message.startswith(f"each part is named by its value of 'id', and {label!r} is no valid label: ")
        assert message.endswith("; change that value in the file, or split by another variable")

    def test_that_differ_after_a_nul(self):
        ds = xr.Dataset({"id": ("row", objects("a\0b", "a\0c", "a"))})
        assert "'a\\x00b' is no valid label" in refused(ds, by="id")

    def test_that_become_one(self):
        ds = xr.Dataset({"id": ("row", objects("a/b", "a.b"))})
        assert "'a/b' and 'a.b' of 'id' both become 'a.b', as '/' becomes '.'" in refused(ds, by="id")

    @pytest.mark.parametrize(
        ("cells", "found"),
        [
            (np.array([1j]), "'x' has the dtype complex128"),
            (objects([1]), "'x' has objects that cannot be compared"),
            (objects(1j), "'x' has complex 1j"),
        ],
    )
    def test_of_what_has_no_text(self, cells, found):
        assert found in refused(xr.Dataset({"x": ("row", cells)}), by="x")

    def test_of_another_charset(self):
        message = refused(xr.Dataset({"x": ("row", [b"z\xfcrich"])}), by="x")
        assert "'x' has b'z\\xfcrich'" in message
        assert "_Encoding" in message


class TestByValue:
    def test_rows_of_a_plain_dimension(self):
        parts = split(argo(), by="PLATFORM_NUMBER")
        assert list(parts) == ["6901602", "6901603"]
        first = parts["6901602"]
        assert dict(first.sizes) == {"N_PROF": 2, "N_LEVELS": 2}
        assert first["CYCLE_NUMBER"].values.tolist() == [1, 2]
        assert first["TEMP"].values.tolist() == [[0, 1], [4, 5]]
        assert parts["6901603"]["TEMP"].values.tolist() == [[2, 3]]
        assert first["DATA_TYPE"].item() == b"Argo profile"

    def test_a_plain_dimension_stays_where_all_values_differ(self):
        parts = split(argo(("1", "2", "3")), by="PLATFORM_NUMBER")
        assert [part.sizes["N_PROF"] for part in parts.values()] == [1, 1, 1]

    @pytest.mark.parametrize("raw", [False, True])
    def test_a_file_of_argo(self, tmp_path, raw):
        path = tmp_path / "argo.nc"
        write_argo(path)
        ds = dataset_of(read_file(path, ReadOptions((), raw, drop_unsupported=False)).contents)
        parts = split(ds, by="PLATFORM_NUMBER")
        assert {label: part["CYCLE_NUMBER"].values.tolist() for label, part in parts.items()} == {
            "6901602": [1, 2],
            "1900722": [1],
        }
        assert parts["6901602"]["PLATFORM_NUMBER"].values.tolist() == [b"6901602 "] * 2
        assert ("_FillValue" in parts["1900722"]["TEMP"].attrs) == raw
        assert parts["1900722"].encoding["source"] == str(path)
        again = tmp_path / "part.nc"
        parts["6901602"].to_netcdf(again)
        with netCDF4.Dataset(again) as file:
            assert file["TEMP"]._FillValue == 99999
            assert file["PLATFORM_NUMBER"].dtype == "S1"
            assert file["TEMP"][:].tolist() == [[0, 1], [4, 5]]

    @pytest.mark.parametrize("raw", [False, True])
    def test_missing_values_of_a_file(self, tmp_path, raw):
        path = tmp_path / "argo.nc"
        write_argo(path, numbers=("6901602 ", "        ", "6901602 "), cycles=(1, 99999, 99999))
        ds = dataset_of(read_file(path, ReadOptions((), raw, drop_unsupported=False)).contents)
        assert refused(ds, by="PLATFORM_NUMBER") == (
            "each position of 'N_PROF' has a value of 'PLATFORM_NUMBER' that says which dataset it goes to, and 1 of "
            "3 are missing, at 1; fill these in the file, take those positions out of it, or split by another variable"
        )
        assert "2 of 3 are missing, at 1, 2;" in refused(ds, by="CYCLE_NUMBER")

    def test_many_missing_values(self):
        ds = xr.Dataset({"x": ("row", np.full(9, np.datetime64("NaT", "ns")))})
        assert "9 of 9 are missing, at 0, 1, 2, 3, 4 and 4 more;" in refused(ds, by="x")

    def test_a_table_of_stations(self):
        ds = xr.Dataset(
            {
                "station": ("row", objects("USW1", "USW1", "ACW2", "USW1")),
                "date": ("row", np.array(["2024-01-01", "2024-01-02", "2024-01-01", "2024-01-03"], "M8[ns]")),
                "prcp": ("row", [0.0, 1.5, 2.0, 0.5]),
            }
        )
        parts = split(ds, by="station")
        assert {label: part["prcp"].values.tolist() for label, part in parts.items()} == {
            "USW1": [0, 1.5, 0.5],
            "ACW2": [2],
        }

    def test_an_index_is_cut_too(self):
        ds = argo().assign_coords(N_PROF=[10, 20, 30])
        part = split(ds, by="PLATFORM_NUMBER")["6901602"]
        assert part["CYCLE_NUMBER"].sel(N_PROF=30).item() == 2

    def test_a_variable_that_is_unknown(self):
        assert refused(argo(), by="platform").startswith("'platform' is no variable of the dataset; split by one of [")

    @pytest.mark.parametrize(("name", "dims"), [("TEMP", ["N_PROF", "N_LEVELS"]), ("DATA_TYPE", [])])
    def test_a_variable_without_one_value_for_each_position(self, name, dims):
        message = refused(argo(), by=name)
        assert message == (
            "a dataset is split by a variable with one value for each position of one dimension, and "
            f"{name!r} has the dimensions {dims}; split by another, or along a dimension"
        )

    def test_a_variable_without_positions(self):
        assert "'N_PROF' has none" in refused(argo().isel(N_PROF=slice(0)), by="PLATFORM_NUMBER")


class TestContiguous:
    def test_values_that_differ(self):
        parts = split(contiguous(), by="name")
        assert {label: part["t"].values.tolist() for label, part in parts.items()} == {
            "a": [0, 1],
            "b": [],
            "c": [2, 3, 4],
        }
        assert parts["b"]["spectrum"].shape == (0, 2)
        assert parts["c"]["name"].item() == "c"
        assert dict(parts["c"].sizes) == {"obs": 3, "band": 2}
        assert "row_size" not in parts["c"]

    def test_equal_values_are_joined_in_their_order(self):
        ds = contiguous(names=("a", "b", "a ", "b"), sizes=(2, 1, 1, 0))
        parts = split(ds, by="name")
        a, b = parts["a"], parts["b"]
        assert (a["t"].values.tolist(), a["row_size"].values.tolist()) == ([0, 1, 3], [2, 1])
        assert (b["t"].values.tolist(), b["row_size"].values.tolist()) == ([2], [1, 0])
        assert a["lat"].values.tolist() == [50, 52]
        assert a["row_size"].attrs == {"sample_dimension": "obs"}

    def test_all_parts_have_one_form(self):
        parts = split(contiguous(names=("a", "a", "b")), by="name")
        assert [part["row_size"].values.tolist() for part in parts.values()] == [[2, 0], [3]]
        assert parts["b"]["t"].values.tolist() == [2, 3, 4]

    def test_row_sizes_that_are_floats(self):
        """As xarray reads integers that have a fill value."""
        ds = contiguous()
        ds["row_size"] = ds["row_size"].astype("f8").assign_attrs(ds["row_size"].attrs)
        assert split(ds, by="name")["c"]["t"].values.tolist() == [2, 3, 4]

    @pytest.mark.parametrize(
        ("sizes", "found"),
        [
            ([2, -1, 4], "1 are not, the first of them -1 at 1"),
            ([2, 0, 9], "1 are not, the first of them 9 at 2"),
            ([2, 2**62, 2**62], "2 are not"),
            ([2.0, np.nan, 3.0], "1 are not, the first of them nan at 1"),
            ([2.0, 0.5, 2.5], "2 are not, the first of them 0.5 at 1"),
            ([2, 0, 2], "'obs', 5, and here to 4; mend them in the file"),
            ([2, 0, 4], "'obs', 5, and here to 6; mend them in the file"),
            (["a", "b", "c"], "'row_size' is <U1 of ['profile'], sample_dimension is 'obs'"),
        ],
    )
    def test_row_sizes_that_do_not_fit(self, sizes, found):
        ds = contiguous()
        ds["row_size"] = ("profile", sizes, ds["row_size"].attrs)
        message = refused(ds, by="name")
        assert found in message
        assert "'row_size'" in message

    @pytest.mark.parametrize("dim", ["Obs", 5])
    def test_row_sizes_along_no_dimension(self, dim):
        message = refused(contiguous(sample_dimension=dim), by="name")
        assert f"sample_dimension is {dim!r} and the dataset has ['profile', 'obs', 'band']" in message

    def test_row_sizes_of_two_dimensions(self):
        ds = contiguous()
        ds["row_size"] = (("profile", "band"), np.ones((3, 2), int), ds["row_size"].attrs)
        assert "along one dimension" in refused(ds, by="name")

    def test_rows_that_two_variables_tell(self):
        ds = contiguous()
        ds["parent"] = ("obs", [0, 0, 2, 2, 2], {"instance_dimension": "profile"})
        assert refused(ds, by="name") == (
            "one variable tells which instances the rows along 'obs' belong to; 'parent' does, and 'row_size' does so "
            "too; leave 'parent' out, or mend its attributes"
        )
        assert list(split(ds.drop_vars("parent"), by="name")) == ["a", "b", "c"]

    def test_rows_that_are_their_own_instances(self):
        assert "'row_size' does, and 'profile' is split itself" in refused(
            contiguous(sample_dimension="profile"), by="name"
        )

    def test_several_kinds_of_rows(self):
        ds = contiguous()
        ds["other_size"] = ("profile", [0, 1, 1], {"sample_dimension": "event"})
        ds["event"] = ("event", [7, 8])
        parts = split(ds, by="name")
        assert [part["event"].values.tolist() for part in parts.values()] == [[], [7], [8]]
        assert [part.sizes["obs"] for part in parts.values()] == [2, 0, 3]

    def test_a_variable_along_the_rows(self):
        assert "'row_size' has the lengths of rows along 'obs'" in refused(contiguous(), by="t")


class TestIndexed:
    def test_values_that_differ(self):
        parts = split(indexed(), by="name")
        assert [part["t"].values.tolist() for part in parts.values()] == [[1, 3], [], [0, 2, 4]]
        assert parts["c"]["lat"].item() == 52
        assert "station_index" not in parts["c"]

    def test_equal_values_are_joined_and_keep_the_order_of_rows(self):
        ds = indexed(names=("a", "b", "a"), index=(2, 1, 0, 1, 2))
        parts = split(ds, by="name")
        a, b = parts["a"], parts["b"]
        assert a["t"].values.tolist() == [0, 2, 4]
        assert a["station_index"].values.tolist() == [1, 0, 1]
        assert a["lat"].values.tolist() == [50, 52]
        assert a["lat"][a["station_index"]].values.tolist() == [52, 50, 52]
        assert (b["t"].values.tolist(), b["station_index"].values.tolist()) == ([1, 3], [0, 0])
        assert a["station_index"].dtype == "i4"
        assert ds["station_index"].values.tolist() == [2, 1, 0, 1, 2]

    def test_an_index_that_is_a_coordinate_stays_one(self):
        parts = split(indexed(names=("a", "b", "a")).set_coords("station_index"), by="name")
        assert "station_index" in parts["a"].coords

    def test_an_index_that_is_the_coordinate_of_the_rows(self):
        ds = indexed(names=("a", "b", "a"), index=(2, 1, 0)).rename(station_index="obs")
        part = split(ds.set_coords("obs"), by="name")["a"]
        assert part["obs"].values.tolist() == [1, 0]
        assert part.indexes["obs"].tolist() == [1, 0]

    def test_rows_by_their_own_values(self):
        parts = split(indexed().assign(flag=("obs", [1, 1, 2, 2, 1])), by="flag")
        assert [part["station_index"].values.tolist() for part in parts.values()] == [[2, 0, 2], [2, 0]]
        assert parts["2"]["name"].values.tolist() == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("index", "found"),
        [
            ([0, 1, 3, 0, 0], "from 0 to 2; 1 are not, the first of them 3 at 2"),
            ([0, -1, -1, 0, 0], "2 are not, the first of them -1 at 1"),
            ([0.0, np.nan, 1.0, 0.0, 0.0], "the first of them nan at 1"),
        ],
    )
    def test_an_index_that_does_not_fit(self, index, found):
        ds = indexed()
        ds["station_index"] = ("obs", index, ds["station_index"].attrs)
        message = refused(ds, along="station")
        assert message.startswith("'station_index' has positions of 'station', which are whole and ")
        assert found in message

    def test_an_index_of_no_dimension(self):
        ds = indexed().assign(i=((), 0, {"instance_dimension": "station"}))
        assert "'i' is int64 of [], instance_dimension is 'station'" in refused(ds, by="name")


class TestRowsOfRows:
    def test_by_stations_that_differ(self):
        parts = split(deep(), by="name")
        x, y = parts["x"], parts["y"]
        assert (x["t"].values.tolist(), x["row_size"].values.tolist()) == ([2], [1])
        assert (y["t"].values.tolist(), y["row_size"].values.tolist()) == ([0, 1, 3, 4, 5], [2, 3])
        assert y["date"].values.tolist() == [10, 30]
        assert "station" not in y.dims
        assert "station_index" not in y

    def test_along_profiles(self):
        parts = split(deep(), along="profile")
        assert [part["t"].values.tolist() for part in parts.values()] == [[0, 1], [2], [3, 4, 5]]
        assert [part["station_index"].item() for part in parts.values()] == [1, 0, 1]
        assert parts["0"]["name"].values.tolist() == ["x", "y"]


class TestCells:
    def test_parts_are_views_where_cells_lie_together(self):
        ds = contiguous()
        parts = split(ds, by="name")
        assert np.shares_memory(parts["c"]["t"].values, ds["t"].values)
        assert np.shares_memory(parts["c"]["wave"].values, ds["wave"].values)

    def test_parts_are_made_one_by_one(self):
        computed = []

        def load(block, block_info=None):
            computed.append(block_info[0]["array-location"][0][0])
            return block

        ds = stations()
        lazy = ds["t"].variable.copy(data=da.from_array(ds["t"].values, (1, 2)).map_blocks(load, meta=np.empty((0, 0))))
        parts = split_dataset(ds.assign(t=lazy), along="station")
        assert computed == []
        label, first = next(parts)
        assert (label, computed) == ("north", [])
        assert first["t"].values.tolist() == [1, 2]
        assert computed == [0]

    def test_parts_can_be_stored(self, store):
        for ds, how in (
            (stations(), {"along": "station"}),
            (argo(), {"by": "PLATFORM_NUMBER"}),
            (deep(), {"by": "name"}),
        ):
            for label, part in split_dataset(ds, **how):
                store.add_xr_dataset(part, part_name("all", label))
                xr.testing.assert_identical(store.to_xarray(part_name("all", label)).load(), part)
        assert store.list_datasets() == [
            f"all.{label}" for label in ("north", "south", "east", "6901602", "6901603", "x", "y")
        ]

    def test_many_as_one_give_a_ragged_array_back(self, store):
        ds = contiguous()
        for label, part in split_dataset(ds, by="name"):
            store.add_xr_dataset(part, label)
        store.flush()
        again = store.open_many(combine="ragged", dim="obs").load()
        assert again["row_size"].values.tolist() == [2, 0, 3]
        for name in ("t", "spectrum", "lat", "name"):
            np.testing.assert_array_equal(again[name], ds[name])

    def test_the_dataset_is_not_changed(self):
        for ds, how in (
            (stations(), {"along": "station"}),
            (indexed(names=("a", "b", "a")), {"by": "name"}),
            (deep(), {"by": "name"}),
        ):
            before = ds.copy(deep=True)
            for _, part in split_dataset(ds, **how):
                part.attrs["title"] = "changed"
                for variable in part.variables.values():
                    variable.attrs["units"] = "changed"
                    variable.encoding["dtype"] = "i1"
            xr.testing.assert_identical(ds, before)
            assert all(ds[name].encoding == before[name].encoding for name in ds.variables)


NAMES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=8)


class TestProperties:
    @given(names=NAMES, data=st.data())
    def test_cells_of_contiguous_ragged_arrays_are_in_one_part_each(self, names, data):
        sizes = data.draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)))
        ds = contiguous(names, sizes)
        parts = split(ds, by="name")
        assert list(parts) == list(dict.fromkeys(names))
        assert sorted(np.concatenate([part["t"].values for part in parts.values()])) == ds["t"].values.tolist()
        assert (
            sorted(np.concatenate([part["lat"].values.ravel() for part in parts.values()])) == ds["lat"].values.tolist()
        )
        edges = np.append(0, np.cumsum(sizes))
        for label, part in parts.items():
            own = [at for at, name in enumerate(names) if name == label]
            expected = [cell for at in own for cell in range(edges[at], edges[at + 1])]
            assert part["t"].values.tolist() == expected
            assert part["spectrum"].values[:, 0].tolist() == [2 * cell for cell in expected]
            if "row_size" in part:
                assert part["row_size"].values.tolist() == [sizes[at] for at in own]

    @given(names=NAMES, data=st.data())
    def test_cells_of_indexed_ragged_arrays_are_in_one_part_each(self, names, data):
        index = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=12))
        ds = indexed(names, index)
        parts = split(ds, by="name")
        assert sorted(np.concatenate([part["t"].values for part in parts.values()])) == ds["t"].values.tolist()
        for label, part in parts.items():
            rows = [row for row, at in enumerate(index) if names[at] == label]
            assert part["t"].values.tolist() == rows
            if "station_index" in part:
                assert part["lat"].values[part["station_index"].values].tolist() == [50 + index[row] for row in rows]

    @given(names=NAMES)
    def test_cells_of_plain_dimensions_are_in_one_part_each(self, names):
        ds = xr.Dataset(
            {"name": ("row", objects(*names)), "t": (("x", "row"), np.arange(2 * len(names)).reshape(2, -1))}
        )
        for label, part in split(ds, by="name").items():
            rows = [row for row, name in enumerate(names) if name == label]
            assert part["t"].values.tolist() == [rows, [row + len(names) for row in rows]]

    @given(
        length=st.integers(1, 5), others=st.integers(0, 3), kind=st.sampled_from(["f8", "i2", "M8[ns]", "U3", "S2"]),
        first=st.booleans(),
    )  # fmt: skip
    def test_parts_put_together_are_the_dataset(self, length, others, kind, first):
        cells = np.arange(length * others).reshape(length, others).astype(kind)
        ds = xr.Dataset(
            {
                "t": (("station", "x"), cells, {"units": "m"})
                if first
                else (("x", "station"), cells.T, {"units": "m"}),
                "one": ("station", np.arange(length)),
                "same": ("x", np.arange(others)),
            },
            {"station": np.arange(length) * 10},
            {"title": "demo"},
        )
        parts = split(ds, along="station")
        assert [part["station"].item() for part in parts.values()] == ds["station"].values.tolist()
        # With a coordinate of that name in the parts, xarray would put `same` along the new dimension too.
        whole = xr.concat(
            [part.drop_vars("station") for part in parts.values()], ds["station"], data_vars=["t", "one"],
            coords="minimal", compat="override", join="override", combine_attrs="override",
        )  # fmt: skip
        xr.testing.assert_identical(whole.transpose(*ds.dims), ds.transpose(*ds.dims))


def write_argo(path: Path, numbers=("6901602 ", "1900722 ", "6901602 "), cycles=(1, 1, 2)):
    """A file as the data centres of Argo have them: numbers of floats are characters, ends are filled."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        for name, length in (("N_PROF", None), ("STRING8", 8), ("N_LEVELS", 2)):
            file.createDimension(name, length)
        file.createVariable("PLATFORM_NUMBER", "S1", ("N_PROF", "STRING8"), fill_value=b" ")
        file.createVariable("CYCLE_NUMBER", "i4", ("N_PROF",), fill_value=99999)
        file.createVariable("TEMP", "f4", ("N_PROF", "N_LEVELS"), fill_value=99999.0)
        file["PLATFORM_NUMBER"][:] = netCDF4.stringtochar(np.array(numbers, "S8"))
        file["CYCLE_NUMBER"][:] = cycles
        file["TEMP"][:] = np.arange(6).reshape(3, 2)
