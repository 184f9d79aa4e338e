"""The benchmarks: engines return equal values, reports have their tables. Asserts no times."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sys
import tarfile
import zipfile
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import atlas
from atlas.errors import CorruptStoreError
from benchmarks import calls, compared, coordinates, fleets, ingest, many, measuring, metadata, report, samples, scaling
from benchmarks import names as array_names
from benchmarks.__main__ import NOT_QUICK
from benchmarks.engines import ENGINES, PACKED, PEERS, STRONG, UNPACKED, make
from benchmarks.engines.base import chunked, digest, scanned
from benchmarks.environments import PINS
from benchmarks.measuring import Effort, Row, collect_rows, link_package, measure
from benchmarks.operations import OPERATIONS
from benchmarks.samples import SAMPLES, Sample, extract
from benchmarks.targets import TARGETS, Figures, verdict
from benchmarks.workloads import WORKLOADS, Workload, located
from tests.api.subprocesses import run_python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

EFFORT = Effort(fraction=0.01, runs=1, short=0.0, slow=10.0)
OWN = ("atlas", "limit", "plain", "netcdf")
SAFETY = ("unsynced", "unchecked", "disk")
STARTS = frozenset({"first_read_empty", "first_read", "imports"})


def run(workload: str, folder: Path, engines: tuple[str, ...], skip: frozenset[str] = STARTS) -> list[Row]:
    notes: list[str] = []
    rows = measure(
        workload, dict.fromkeys(engines, sys.executable), EFFORT,
        samples=folder, package=link_package(folder), skip=skip, note=notes.append,
    )  # fmt: skip
    assert notes == []
    return rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    pytest.importorskip("netCDF4")
    return run("sensors", tmp_path_factory.mktemp("benchmark"), OWN, frozenset({"first_read_empty"}))


def test_engines_read_the_same_values(rows: list[Row]) -> None:
    assert all(row.agrees for row in rows)


def test_every_operation_has_a_row_of_each_engine_that_can(rows: list[Row]) -> None:
    can = {engine: {row.operation for row in rows if row.engine == engine} for engine in OWN}
    assert can["atlas"] == {name for name, it in OPERATIONS.items() if it.on("sensors")} - {"first_read_empty"}
    assert can["limit"] == {"slice"}
    assert can["plain"] == {"lazy", "imports"}
    assert can["netcdf"] == {"write", "open_slice", "read_one", "first_read", "append"}


def test_rows_measure(rows: list[Row]) -> None:
    for row in rows:
        assert 0 < row.min_ms <= row.median_ms
        assert row.runs == 1
        assert row.peak_mib >= 0
        assert (row.mib_on_disk is not None) == (row.operation in {"write", "write_each"})
        assert row.ratio is not None or row.operation not in {"write", "slice"}
    assert {row.ratio for row in rows if row.engine == "atlas"} == {1.0}
    assert {row.result_mib for row in rows if row.operation == "slice"} == {10 * 3 * 6 * 4 / 2**20}


def test_what_it_costs_to_be_safe_is_measured(tmp_path: Path) -> None:
    everywhere = frozenset(name for name, operation in OPERATIONS.items() if not operation.workloads)
    found = run("profile", tmp_path, ("atlas", *SAFETY, "limit", "plain"), everywhere - {"write"})
    assert all(row.agrees for row in found)
    extra = {(row.operation, row.engine) for row in found if OPERATIONS[row.operation].workloads}
    assert extra == {
        ("cost_write", "atlas"), ("cost_write", "unsynced"), ("cost_write", "unchecked"), ("cost_write", "disk"),
        ("cost_slice", "atlas"), ("cost_slice", "unchecked"), ("cost_read", "atlas"), ("cost_read", "unchecked"),
        ("read_plain", "atlas"), ("read_plain", "plain"), ("slice_lz4", "atlas"), ("slice_lz4", "limit"),
        ("write_unsynced", "atlas"),
    }  # fmt: skip
    assert {row.runs for row in found if OPERATIONS[row.operation].cost} == {5}
    assert report.costs(found).count("\n") == 4
    made = report.Report("python -m benchmarks", report.machine(), (0.1, 1.0), 60.0, 1.0, {}, found, [])
    page = tmp_path / "page.md"
    page.write_text("\n".join([report.BEGIN, "tables", report.END, report.COSTS_BEGIN, "costs", report.COSTS_END]))
    report.insert(replace(made, rows=[row for row in found if OPERATIONS[row.operation].cost]), page)
    assert "\ntables\n" in page.read_text()
    assert "\ncosts\n" not in page.read_text()
    report.insert(made, page)
    main, costs = page.read_text().split(report.END)
    assert not any(ENGINES[engine].title in main for engine in SAFETY)
    assert all(ENGINES[engine].title in costs for engine in ("atlas", *SAFETY))
    assert costs.count("| checksums") == 3
    cells = {target.title: target.of("profile", Figures({(r.operation, r.engine): r for r in found}))
             for target in TARGETS if "checksums" in target.title}  # fmt: skip
    assert len(cells) == 3
    assert all(cells.values())


def test_what_is_measured_on_one_workload_is_left_out_of_others(tmp_path: Path) -> None:
    found = run("sensors", tmp_path, ("atlas", *SAFETY), frozenset(OPERATIONS) - {"write"})
    assert {row.engine for row in found} == {"atlas"}


@pytest.mark.parametrize("engine", ["atlas", "unsynced"])
def test_only_ours_waits_for_the_disk(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    made: Any = make(engine, WORKLOADS["profile"].scaled(EFFORT.fraction), tmp_path)
    made.prepare_cost_write()
    made.cost_write()
    assert bool(waits) == (engine == "atlas")
    assert made.check_cost_write()[0].size


def test_blocks_have_no_checksums_where_what_they_cost_is_measured(tmp_path: Path) -> None:
    """In a process of its own, like a worker: other processes cannot read its store, nor it theirs."""
    script = """
        import sys
        from pathlib import Path
        from benchmarks.engines import make
        from benchmarks.workloads import WORKLOADS
        made = make("unchecked", WORKLOADS["profile"].scaled(0.01), Path(sys.argv[1]))
        made.prepare_cost_slice()
        assert made.cost_slice()[0].size
        segment = next(made.path.rglob("*.seg"))
        data = bytearray(segment.read_bytes())
        data[200] ^= 255  # of the lowest bytes of noise, which are stored as they are
        segment.write_bytes(data)
        print(len(made.cost_read()))
    """
    assert run_python(script, tmp_path) == "4"
    store = atlas.Atlas.open(tmp_path / "data" / "store")
    with pytest.raises(CorruptStoreError, match="checksum"):
        store.read_array_across_stacked(store.list_arrays()[0], store.list_datasets())


def test_engines_take_turns_to_and_fro(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    class Fake:
        versions = ""
        operations = frozenset({"slice"})

        def __init__(self, _python: str, engine: str, *_: object) -> None:
            self.engine = engine

        def ready(self) -> None:
            pass

        def run(self, _operation: str) -> dict[str, Any]:
            asked.append(self.engine)
            return {"seconds": 1.0, "peak_kib": 0, "result_kib": 0, "digest": "a"}

        def close(self) -> None:
            pass

    monkeypatch.setattr(measuring, "Worker", Fake)
    pythons = dict.fromkeys(("atlas", "limit", "plain"), sys.executable)
    skip = frozenset(OPERATIONS) - {"slice"}
    effort = replace(EFFORT, runs=2)
    found = measure("profile", pythons, effort, samples=tmp_path, package=tmp_path, skip=skip, note=print)
    assert [row.runs for row in found] == [2, 2, 2]
    assert asked == ["atlas", "limit", "plain", "plain", "limit", "atlas", "atlas", "limit", "plain"]


def test_pairs_of_runs_tell_small_differences_from_noise() -> None:
    def answers(*seconds: float) -> list[dict[str, Any]]:
        return [{"seconds": each, "peak_kib": 0, "result_kib": 0, "digest": "a"} for each in (9.0, *seconds)]

    found = collect_rows("profile", "cost_write", {
        "atlas": answers(1.1, 2.2, 33.0, 4.4), "unchecked": answers(1.0, 2.0, 30.0, 4.0, 5.0),
    })  # fmt: skip
    assert [row.paired for row in found] == [1.0, pytest.approx(1.1)]
    figures = Figures({(row.operation, row.engine): row for row in found})
    assert figures.over("cost_write", "unchecked") == pytest.approx(0.1)
    (without,) = collect_rows("profile", "cost_write", {"unchecked": answers(1.0)})
    assert without.paired is None
    assert without.ratio is None


def test_a_stream_of_dask_blocks_is_written(tmp_path: Path) -> None:
    found = run("gridded", tmp_path, ("atlas",), frozenset(OPERATIONS) - {"write", "write_dask"})
    assert {row.operation for row in found} == {"write", "write_dask"}


def test_real_data_agree(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    pytest.importorskip("iris_sample_data")
    assert extract("casts", tmp_path, tmp_path) is None
    found = run("casts", tmp_path, ("atlas", "netcdf"))
    assert {row.engine for row in found} == {"atlas", "netcdf"}
    assert all(row.agrees for row in found)


def packaged(name: str, folder: Path, files: dict[str, bytes]) -> None:
    """Put a package with these files where a download would put it."""
    pin = SAMPLES[name].pin
    assert pin is not None
    (folder / pin).mkdir()
    if SAMPLES[name].source:
        with tarfile.open(folder / pin / "package.tar.gz", "w:gz") as distribution:
            for path, data in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(data)
                distribution.addfile(member, io.BytesIO(data))
    else:
        with zipfile.ZipFile(folder / pin / "package.whl", "w") as wheel:
            for path, data in files.items():
                wheel.writestr(path, data)


def extracted(name: str, folder: Path) -> list[np.ndarray[Any, Any]]:
    assert extract(name, folder, folder) is None
    with np.load(folder / f"{name}.npz") as file:
        return [file[f"variable{at}"] for at in range(len(file.files))]


def netcdf(folder: Path, variables: dict[str, tuple[np.ndarray[Any, Any], tuple[str, ...], dict[str, Any]]]) -> bytes:
    """The bytes of a NetCDF file."""
    from netCDF4 import Dataset  # noqa: PLC0415 - not everywhere

    with Dataset(folder / "file.nc", "w", format="NETCDF3_CLASSIC") as file:
        for name, (values, dims, attributes) in variables.items():
            for dim, length in zip(dims, values.shape, strict=True):
                if dim not in file.dimensions:
                    file.createDimension(dim, length)
            fill = attributes.pop("_FillValue", None)
            variable = file.createVariable(name, values.dtype, dims, fill_value=fill)
            variable.setncatts(attributes)
            variable.set_auto_maskandscale(False)
            variable[...] = values
    return (folder / "file.nc").read_bytes()


def test_packed_fields_are_the_nearest_floats_of_their_decimals(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    rng = np.random.default_rng(1)
    dims, shape = ("time", "depth", "Y", "X"), (3, 12, 5, 7)
    salinity, temperature = (rng.integers(-9000, 9000, shape).astype(np.int16) for _ in range(2))
    salinity[0, 3, 2, 1] = temperature[2, 1, 4, 6] = -32767
    packing = {"_FillValue": np.int16(-32767), "add_offset": np.float32(0)}
    data = netcdf(tmp_path, {
        "salinity": (salinity, dims, packing | {"scale_factor": np.float32(0.001), "add_offset": np.float32(30)}),
        "temperature": (temperature, dims, packing | {"scale_factor": np.float32(0.01)}),
    })  # fmt: skip
    name = "x/test_data/14Jan2016_NorKyst_z_3d/NorKyst-800m_ZDEPTHS_his_00_3Dsubset.nc"
    packaged("salinity", tmp_path, {"x/other.nc": b"", name: data})
    (sections,) = extracted("salinity", tmp_path)
    (fields,) = extracted("temperature", tmp_path)
    missing = np.float32("nan")
    decimals = [missing if n == -32767 else np.float32(f"{30000 + n}e-3") for n in salinity[0].ravel().tolist()]
    np.testing.assert_array_equal(sections, np.reshape(decimals, shape[1:]).transpose(1, 0, 2))
    decimals = [missing if n == -32767 else np.float32(f"{n}e-2") for n in temperature.ravel().tolist()]
    np.testing.assert_array_equal(fields, np.reshape(decimals, (36, *shape[2:])))


def test_soundings_are_those_with_enough_levels(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    files = {}
    for at, levels in enumerate((399, 400, 1225, 1226)):
        depths = np.arange(levels, dtype=np.float32)
        variables = {"z": (depths, ("z",), {}), "Temperature": (depths / 2 + at, ("z",), {})}
        files[f"DC_OCEAN/Input_files/WOD18_sample_1995/wod_{at}.nc"] = netcdf(tmp_path, variables)
    packaged("soundings", tmp_path, files)
    depths, temperatures = extracted("soundings", tmp_path)
    assert depths.shape == temperatures.shape == (2, 1225)
    assert (~np.isnan(depths)).sum(axis=1).tolist() == [400, 1225]
    assert temperatures[:, 2].tolist() == [2.0, 3.0]


def test_weather_is_one_dataset_a_month_and_airport(tmp_path: Path) -> None:
    names = ["origin", "month", *samples._WEATHER]
    rows = ["EWR,1,39.02,26,59,10.4,0,1012", "EWR,2,1,2,3,4,5,6", "EWR,1,39.92,NA,59,10.4,0,NA", "JFK,1,7,8,9,1,2,3"]
    packaged("weather", tmp_path, {"x/data/weather.csv": "\n".join([",".join(names), *rows]).encode()})
    found = extracted("weather", tmp_path)
    assert [values.shape for values in found] == [(3, 744)] * 6
    assert found[0][0, :2].tolist() == [np.float32(39.02), np.float32(39.92)]
    assert np.isnan(found[1][0, 1])
    assert np.isnan(found[0][:, 2:]).all()
    assert found[5][:, 0].tolist() == [1012, 6, 3]


def test_topography_is_cut_into_tiles(tmp_path: Path) -> None:
    whole = np.arange(344 * 403, dtype=np.int32).reshape(344, 403)
    buffer = io.BytesIO()
    np.savez(buffer, elevation=whole)
    packaged("topography", tmp_path, {"x/sample_data/jacksboro_fault_dem.npz": buffer.getvalue()})
    (tiles,) = extracted("topography", tmp_path)
    assert tiles.shape == (16, 86, 100)
    assert (tiles[6] == whole[86:172, 200:300]).all()


def test_real_data_that_cannot_be_had_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SAMPLES, "salinity", Sample(samples._salinity, "not a package==1"))
    note = extract("salinity", tmp_path, tmp_path / "packages")
    assert note is not None
    assert note.startswith("salinity is left out: ")
    assert not list(tmp_path.rglob("*.npz"))


def test_every_real_workload_has_its_sample_and_real_ones_come_first() -> None:
    kinds = [workload.kind for workload in WORKLOADS.values()]
    assert kinds == sorted(kinds, key=["real", "ragged", "walks", "strings", "random"].index)
    assert {name for name, workload in WORKLOADS.items() if workload.kind == "real"} == set(SAMPLES)
    assert all(sample.pin is None or "==" in sample.pin for sample in SAMPLES.values())
    assert set(NOT_QUICK) < set(WORKLOADS)


def test_reads_in_turn_return_what_was_written(tmp_path: Path) -> None:
    made: Any = make("atlas", WORKLOADS["gridded"].scaled(EFFORT.fraction), tmp_path)
    made.prepare_write()
    made.write()
    boxes = made.boxes()
    assert len(boxes) == 4
    assert all((box == values[made.work.box]).all() for box, values in zip(boxes, made.data["variable0"], strict=True))
    assert all((whole == made.data[name]).all() for whole, name in zip(made.read_all(), made.data, strict=True))
    made.prepare_small_chunks()
    assert (np.concatenate(made.small_chunks()) == chunked()).all()


def test_dask_reads_the_same_variable_again(tmp_path: Path) -> None:
    made: Any = make("atlas", WORKLOADS["gridded"].scaled(EFFORT.fraction), tmp_path)
    values = scanned(4)
    made.prepare_dask_first()
    assert made.dask_first()[0].tolist() == [f"{values.mean(dtype=np.float64):.3g}"]
    first = made._scanned
    made.prepare_dask_sum()
    assert made._scanned is first  # the third read is by the handle of the first two
    assert made._scans == 2
    assert made.dask_sum()[0].tolist() == [f"{values.sum(dtype=np.float64):.3g}"]
    made.prepare_dask_rechunk()
    (rechunked,) = made.dask_rechunk()
    assert (rechunked == values).all()
    made.prepare_dask_first()
    made.dask_first()
    assert made._scanned is not first  # nor is a first read by a handle that has read before


def test_strings_agree(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    found = run("strings", tmp_path, ("atlas", "netcdf"))
    assert {row.engine for row in found} == {"atlas", "netcdf"}
    assert all(row.agrees for row in found)


def test_other_values_are_told() -> None:
    answer = {"seconds": 1.0, "peak_kib": 0, "result_kib": 0, "digest": "a"}
    answers = {"atlas": [answer], "seed": [answer, answer | {"digest": "b"}], "zarrs": [answer]}
    assert [row.agrees for row in collect_rows("sensors", "slice", answers)] == [True, False, True]


def test_an_engine_that_cannot_start_is_noted_and_left_out(tmp_path: Path) -> None:
    if importlib.util.find_spec("tiledb"):
        pytest.skip("tiledb is installed here")
    notes: list[str] = []
    found = measure(
        "sensors", dict.fromkeys(("atlas", "tiledb"), sys.executable), EFFORT, samples=tmp_path,
        package=link_package(tmp_path), skip=frozenset(OPERATIONS) - {"write"}, note=notes.append,
    )  # fmt: skip
    assert {row.engine for row in found} == {"atlas"}
    assert len(notes) == 1
    assert "tiledb" in notes[0]


def test_the_report_has_tables_json_and_a_page(rows: list[Row], tmp_path: Path) -> None:
    disagreeing = [replace(row, agrees=False) if row.operation == "append" else row for row in rows]
    made = report.Report(
        "python -m benchmarks", report.machine(), (0.1, 1.0), 60.0, 1.0, {"atlas": "atlas-store 1"},
        disagreeing, ["something was left out"],
    )  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nan earlier run\n{report.END}\nafter\n")
    for _ in range(2):  # a second time replaces the first
        report.insert(made, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "an earlier run" not in text
    assert text.count("### sensors: 1,000 x 3 x (24,)") == 1
    assert "OTHER VALUES" in text
    assert "something was left out" in text
    assert all(text.count(OPERATIONS[row.operation].title) for row in rows)
    assert "| import + first read, empty JIT cache, s |" not in text  # it was not measured
    assert "| opening 1,000 lazy chunks: delayed objects / ours |" in text
    widths = {line.count("|") for line in text.split("### ")[1].splitlines() if line.startswith("|")}
    assert len(widths) == 1
    report.insert(replace(made, fraction=EFFORT.fraction), page)
    assert "| opening 1,000 lazy chunks" not in page.read_text()  # fleets were too small
    back = json.loads(made.as_json())
    assert len(back["rows"]) == len(rows)
    assert set(back["rows"][0]) >= {"workload", "operation", "engine", "median_ms", "min_ms", "ratio", "peak_mib"}
    assert all(len(report.line(row).split()) >= 6 for row in rows)


def made_row(operation: str, engine: str, ms: float, *, peak: float = 0.0, disk: float | None = None) -> Row:
    return Row("gridded", operation, engine, ms, ms, 1, None, peak, 5.0, disk, agrees=True)


def test_targets_take_the_best_of_the_peers() -> None:
    rows = [
        made_row("slice", engine, ms) for engine, ms in (("atlas", 10), ("zarrs", 90), ("blosc2", 20), ("limit", 5))
    ]
    rows += [made_row("slice", "blosc2_packed", 1)]
    rows += [
        made_row("write", engine, 1, disk=mib) for engine, mib in (("atlas", 4), ("zarrs", 8), ("blosc2_packed", 2))
    ]
    rows += [made_row("to_xarray_many", "atlas", 1, peak=100), made_row("to_xarray_many", "seed", 1, peak=900)]
    rows += [made_row("dask_mean", engine, ms) for engine, ms in (("atlas", 40), ("seed", 50))]
    rows += [made_row("boxes", engine, ms) for engine, ms in (("atlas", 100), ("seed", 50))]
    figures = Figures({(row.operation, row.engine): row for row in rows})
    cells = {target.title: target.of("gridded", figures) for target in TARGETS}
    assert cells["warm slice: fastest of tensorstore, zarrs, blosc2 / ours"] == "**2.00 < 2.5**"
    assert cells["warm slice: ours / limit"] == "**2.00 > 1.3**"
    assert cells["bytes on disk: smallest of all peers / ours"] == "**0.50 < 1**"
    assert cells["write and flush: fastest peer / ours"] == "1 ≥ 1"
    assert cells["dask mean of 125 MB, third read: atlas-python / ours"] == "1.25 ≥ 1"
    assert cells["one dataset after another: atlas-python / ours"] == "**0.50 < 0.8**"
    assert cells["bulk reads: peak beside the result, MiB"] == "**95.0 > 64**"
    assert cells["opening slice: atlas-python / ours"] == ""  # not measured
    assert cells["import: ours / xarray and dask.array"] == ""  # not wanted here
    assert report.against_targets(rows).count("\n") == 1 + sum(map(bool, cells.values()))


def test_targets_for_real_data_take_the_strongest_settings_of_the_peers() -> None:
    sizes = {"atlas": 4.0, "zarr_zstd3": 7.0, "blosc2_shuffle5": 9.0, "zarrs": 1.0}
    rows = [made_row("write", engine, 1, disk=mib) for engine, mib in sizes.items()]
    rows += [
        made_row("read_all", engine, ms) for engine, ms in (("atlas", 2), ("zarr_zstd3", 1), ("blosc2_shuffle5", 4))
    ]
    figures = Figures({(row.operation, row.engine): row for row in rows})
    cells = {target.title: target.of("salinity", figures) for target in TARGETS}
    assert cells["bytes on disk: smallest of zarr (zstd 3), blosc2 (shuffle, zstd 5) / ours"] == "1.75 ≥ 1.5"
    assert cells["warm read of all: blosc2 (shuffle, zstd 5) / ours"] == "2.00 ≥ 1.5"
    assert cells["warm slice: blosc2 (shuffle, zstd 5) / ours"] == ""  # not measured


def test_verdicts_never_round_a_miss_away() -> None:
    assert verdict(0.998, 1, least=True) == "**0.998 < 1**"
    assert verdict(1.0, 1, least=True) == "1 ≥ 1"
    assert verdict(1.3004, 1.3, least=False) == "**1.3004 > 1.3**"
    assert verdict(2345.6, 64, least=False) == "**2,346 > 64**"


def test_every_target_is_of_a_workload() -> None:
    assert all(set(target.wanted) <= set(WORKLOADS) for target in TARGETS)
    assert set(UNPACKED) | set(PACKED) | set(STRONG) < set(PEERS) < set(ENGINES)


STACK = {"read": 0.4, "xarray": 0.4, "meaning": 0.03, "coordinate": 0.01}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> scaling.Measurements:
    folder = tmp_path_factory.mktemp("scaling")
    fleet = scaling.run_job("write", folder, 30) | scaling.run_job("read", folder, 30)
    chunks = scaling.run_job("chunks", tmp_path_factory.mktemp("chunks"), 50)
    flushed = scaling.run_job("flushed", tmp_path_factory.mktemp("flushed"), 24)
    stack = scaling.run_job("stack", tmp_path_factory.mktemp("stack"), 20)
    return scaling.Measurements(
        {30: fleet, 100_000: fleet | {"open": 0.6}},
        {10: chunks, 50: chunks},
        {24: flushed},
        {20: stack, 1000: dict(STACK), 1_000_000: STACK | {"coordinate": 1}},
    )


def test_scaling_measures(measured: scaling.Measurements) -> None:
    assert set(measured.fleets[30]) == {"write", "flush", "open", "first", "again", "append", "memory", "size"}
    assert set(measured.chunks[50]) == {"write", "read", "one"}
    assert set(measured.flushed[24]) == {"open before", "open after", "warm before", "warm after"}
    assert set(measured.stacks[20]) == set(STACK)
    for found in (
        *measured.fleets.values(),
        *measured.chunks.values(),
        *measured.flushed.values(),
        measured.stacks[20],
    ):
        assert all(value > 0 for value in found.values())


def test_scaling_is_held_against_its_targets(measured: scaling.Measurements, tmp_path: Path) -> None:
    text = scaling.tables(measured)
    assert "| 100,000: open, s | **0.60 > 0.5** |" in text
    assert "| flush, a dataset, at 100,000 over at 30 | 0.00 ≤ 1.2 |" in text
    assert "| 1,000: what stacked read compares over the rest | 0.08 ≤ 0.1 |" in text
    assert "| 1,000: what to_xarray_many compares over the rest | **0.11 > 0.1** |" in text
    assert "| 1,000,000: what to_xarray_many compares, s | **1.03 > 0.05** |" in text
    assert "| write, a chunk, at 50 over at 10 | 0.20 ≤ 1.2 |" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{scaling.BEGIN}\n{scaling.END}\nafter\n")
    report.replace_between(page, scaling.BEGIN, scaling.END, [text])
    assert text in page.read_text()
    with pytest.raises(ValueError, match="needs the markers"):
        report.replace_between(page, "<!-- other -->", scaling.END, [text])


def test_coordinates_that_datasets_share_are_counted_once(tmp_path: Path) -> None:
    title, datasets, _, shared, apart, ratio = coordinates.measure("one grid", lambda: coordinates.gridded(12))
    assert (title, datasets) == ("one grid", "12")
    assert int(apart.replace(",", "")) > 9 * int(shared.replace(",", ""))
    assert float(ratio) > 2
    (_, ds), _ = coordinates.gridded(2)
    for at in range(2):
        ds.to_netcdf(tmp_path / f"{at}.nc")
    assert [name for name, _ in coordinates.files(tmp_path)] == ["0", "1"]


def test_columns_of_metadata_are_timed_beside_a_loop_that_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{metadata.BEGIN}\n{metadata.END}\nafter\n")
    monkeypatch.setattr("benchmarks.metadata._AIMED", 30)
    monkeypatch.setattr("sys.argv", ["metadata", "--datasets", "20", "30", "--runs", "2", "--page", str(page)])
    metadata.main()
    lines = [line for line in page.read_text().splitlines() if line.startswith(("| 20 ", "| 30 "))]
    assert [line.split(" | ")[1] for line in lines] == [one.title for one in metadata.COMPARISONS] * 2
    assert "\n".join(lines) in capsys.readouterr().out
    aimed = [line for line in lines if any(f"{sign} {wanted}" in line for sign in "<≥" for wanted in (4, 68))]
    assert [line.split(" | ")[:2] for line in aimed] == [["| 30", "statistics of float32"], ["| 30", "all attributes"]]


def test_adding_files_is_timed_beside_loops_that_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{ingest.BEGIN}\nold\n{ingest.END}\nafter\n")
    monkeypatch.setattr("benchmarks.ingest._AIMED", 12)
    monkeypatch.setattr("sys.argv", ["ingest", "--files", "12", "--runs", "1", "--page", str(page)])
    ingest.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 12 ")]
    assert [line.split("|")[2].strip() for line in lines] == [title for title, _ in ingest.WAYS.values()]
    assert all(float(line.split("|")[3]) > 0 for line in lines)
    assert ["0.9" in lines[2], "1.4" in lines[3]] == [True, True]
    assert "old" not in page.read_text()


def test_a_flush_of_many_names_is_timed_beside_a_loop_that_makes_as_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{array_names.BEGIN}\n{array_names.END}\nafter\n")
    monkeypatch.setattr("benchmarks.names._AIMED", 30)
    monkeypatch.setattr(
        "sys.argv",
        ["names", "--names", "20", "30", "--runs", "2", "--folder", str(tmp_path), "--page", str(page)],
    )
    array_names.main()
    lines = [line for line in page.read_text().splitlines() if line.startswith(("| 20 ", "| 30 "))]
    assert [line.split(" | ")[1] for line in lines] == [*array_names.FLEETS] * 2
    assert ["1.5" in line.split(" | ")[-1] for line in lines] == [False, False, True, True]
    assert "\n".join(lines) in capsys.readouterr().out
    assert not list(tmp_path.glob("atlas-names-*"))
    array_names.make_files(tmp_path / "files", 5, 700)
    assert [path.stat().st_size for path in (tmp_path / "files").glob("*/*")] == [700] * 5


def test_columns_that_say_something_else_than_the_loop_are_no_figure(tmp_path: Path) -> None:
    metadata.make_fleet(tmp_path / "fleet", 4)
    store = atlas.Atlas.open(tmp_path / "fleet")
    wrong = replace(metadata.COMPARISONS[0], same=lambda _: [[0.0] * 4] * 2)
    with pytest.raises(ValueError, match="something else"):
        metadata.measure(store, wrong, 1)


@pytest.mark.parametrize("names", [["stack", "ragged", "10,000"], ["concat", "cmip6"]])
def test_many_datasets_are_opened_as_one_beside_others_that_make_the_same(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("netCDF4")
    fleets.days(tmp_path, 6)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{many.BEGIN}\n{many.END}\nafter\n")
    options = ["--tables", *names, "--datasets", "6", "--runs", "1", "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["many", *options, "--cmip6", str(tmp_path / "files")])
    many.main()
    text = page.read_text()
    titles = [line for line in text.splitlines() if line.startswith("###")]
    assert titles == [f"### 6 {many.TABLES[name].title}" for name in names]
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    found = [line for line in cells if line[0] not in ("---", "result")]
    every = [call for name in names for call in many.TABLES[name].calls]
    assert [line[:2] for line in found] == [[call.result, call.title] for call in every]
    assert all(float(line[2].replace(",", "")) > 0 for line in found)
    assert not any(sign in text for sign in "≤≥")  # targets are set for more datasets
    assert titles[0] in capsys.readouterr().out


def test_targets_of_many_datasets_are_those_of_ratios_and_times() -> None:
    calls = [
        compared.Call("lazy", "ours", len, most_ms=1000),
        compared.Call("lazy", "theirs", len, 50),
        compared.Call("loaded", "read", len),
        compared.Call("loaded", "open, load", len, 1.25, least=False),
    ]
    times = [1200.0, 6000.0, 10.0, 12.0]
    assert compared.rows(calls, times, [0.5, 1, 2, 300], aimed=True) == [
        ["lazy", "ours", "**1,200 > 1000**", "", "0.50"],
        ["lazy", "theirs", "6,000", "**5.00 < 50**", "1.00"],
        ["loaded", "read", "10.0", "", "2.00"],
        ["loaded", "open, load", "12.0", "1.20 ≤ 1.25", "300"],
    ]
    assert [row[2:4] for row in compared.rows(calls, times, times, aimed=False)] == [
        ["1,200", ""], ["6,000", "5.00"], ["10.0", ""], ["12.0", "1.20"]
    ]  # fmt: skip


def test_calls_that_make_something_else_are_no_figure(tmp_path: Path) -> None:
    fleets.stations(tmp_path, 4)
    fleet = compared.Fleet(tmp_path)
    own = compared.Call("lazy", "own", lambda fleet: fleet.store.open_many())
    with pytest.raises(ValueError, match="reversed returns other values than the first call of 'lazy'"):
        compared.measure(
            fleet,
            [own, compared.Call("lazy", "reversed", lambda fleet: own.run(fleet)[{"x": slice(None, None, -1)}])],
            1,
        )
    mean = compared.Call("mean", "near", lambda _: 0.5)
    with pytest.raises(ValueError, match="far returns other values"):
        compared.measure(fleet, [mean, compared.Call("mean", "far", lambda _: 0.50001)], 1)
    assert len(compared.measure(fleet, [mean, compared.Call("mean", "last digit", lambda _: 0.5 + 1e-16)], 1)) == 2


def test_calls_are_measured_and_held_against_their_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [name for name in (*calls.CALLS, *calls.OWN) if name not in {"beside", "p99"} and "profile" not in name]
    found = calls.measure({"ours": sys.executable}, 30, 1, names)
    assert set(found) == {"ours"}
    assert set(found["ours"]) == {*names, "beside"}
    assert all(value > 0 for value in found["ours"].values())
    text = calls.tables({"ours": {"open": 2.0, "read": 1.0, "p99": 1.5, "beside": 1.6}, "seed": {"open": 1.0}})
    assert "| `open_dataset`, us | 2.00 | 1.00 | **0.50 < 0.6** |" in text
    assert "| `read_array`, us | 1.00 |  |  |" in text
    assert "in 16 threads / the bare function, 99th percentile | 1.50 ≤ 2 |" in text
    assert "alone | **1.60 > 1.5** |" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{calls.BEGIN}\n{calls.END}\nafter\n")
    report.replace_between(page, calls.BEGIN, calls.END, [text])
    assert text in page.read_text()
    monkeypatch.setattr(calls, "_SECONDS", 0.05)
    assert calls.Calls(tmp_path, 20).p99() > 0


def test_a_plot_is_a_png(rows: list[Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plot import draw  # noqa: PLC0415 - needs matplotlib

    draw(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_ratios_are_theirs_over_ours(rows: list[Row]) -> None:
    times = {(row.operation, row.engine): row.median_ms for row in rows}
    ratios = {(row.operation, row.engine): row.ratio for row in rows}
    assert ratios["write", "netcdf"] == pytest.approx(times["write", "netcdf"] / times["write", "atlas"])


@pytest.mark.parametrize("name", [name for name, workload in WORKLOADS.items() if workload.kind != "real"])
def test_data_are_the_same_every_time(name: str, tmp_path: Path) -> None:
    work = located(name, 0.01, tmp_path)
    first, second = work.data(), work.data()
    assert digest(list(first.values())) == digest(list(second.values()))
    for values in first.values():
        ragged = work.kind == "ragged"
        assert values.shape == ((work.row_sizes.sum(),) if ragged else (work.datasets, *work.shape))
        assert values.dtype == (object if work.kind == "strings" else np.float32)
    assert len({digest([values]) for values in first.values()}) == work.arrays


def test_digests_tell_arrays_apart() -> None:
    texts = np.array(["a", "bc"], object)
    assert digest([texts]) == digest([texts.astype("U9")])
    assert digest([texts]) != digest([texts[::-1]])
    assert digest([np.zeros(4, np.float32)]) != digest([np.zeros((2, 2), np.float32)])
    assert digest([np.zeros(4, np.float32)]) != digest([np.zeros(4, np.int32)])


def test_boxes_are_a_quarter_and_blocks_hold_a_chunk_at_least() -> None:
    work = Workload("w", 1000, 1, (100, 3), (50, 3))
    assert work.quarter == (25, 1)
    assert work.per_block == 2**17 // 600
    assert replace(work, shape=(1000, 1000), chunks=None).per_block == 1
    assert replace(work, datasets=7).per_block == 7


def test_names_are_made_once() -> None:
    work = Workload("w", 3, 1, (100,))
    assert work.names is work.names
    assert len(replace(work, datasets=2).names) == 2
    assert Workload.from_json(json.loads(json.dumps(asdict(work)))) == work


def test_every_engine_has_pinned_packages() -> None:
    for entry in ENGINES.values():
        if entry.environment is not None:
            assert all("==" in pin for pin in PINS[entry.environment])


def test_files_of_other_packages_are_listed_with_what_becomes_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    h5py = pytest.importorskip("h5py")
    xr = pytest.importorskip("xarray")
    real_files = importlib.import_module("benchmarks.real_files")
    files = tmp_path / "whole-1.0" / "tests"
    files.mkdir(parents=True)
    for name in ("a.nc", "b.nc", "c.nc", "d.nc"):
        xr.Dataset({"t": ("x", [1.5, np.nan])}).to_netcdf(files / name)
    (files / "readme.txt").write_text("not wanted")
    (files / "text.cdl").write_text("no CDL")
    (tmp_path / "downloads" / "odd-2.0").mkdir(parents=True)
    with tarfile.open(tmp_path / "downloads" / "whole-1.0.tar.gz", "w:gz") as archive:
        archive.add(files.parent, "whole-1.0")
    with h5py.File(tmp_path / "downloads" / "odd-2.0" / "odd.h5", "w") as odd:
        odd["cells"] = np.arange(3)
        odd["references"] = np.array([odd["cells"].ref], h5py.ref_dtype)
    (tmp_path / "downloads" / "odd-2.0" / "odd.nc").write_bytes(b"no | NetCDF")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{real_files.BEGIN}\nold\n{real_files.END}\nafter\n")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", ["real_files", str(tmp_path / "downloads"), "--page", str(page)])
    real_files.main()
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert lines[0] == "| package | failed | stored | not made |"
    assert lines[2:5] == ["| odd-2.0 | 2 | 0 | 0 |", "| whole-1.0 | 0 | 4 | 1 |", "| all | 2 | 4 | 1 |"]
    hidden = (
        "variable 'references' is of a dtype of the class reference that netCDF4 cannot read; leave it out with "
        "drop=['references'] (--drop references of the command), or all such with on_unsupported='drop' "
        "(--on-unsupported drop); xarray reads it"
    )
    assert set(lines[7:]) == {
        f"| `odd.h5` | odd-2.0 | HDF5 | failed | {hidden} |",
        "| `odd.nc` | odd-2.0 | other | failed | [Errno -51] NetCDF: Unknown file format: 'FILE' |",
        "| `tests/a.nc` and 3 more | whole-1.0 | NetCDF 4 | stored |  |",
        "| `tests/text.cdl` | whole-1.0 | CDL | not made | ncgen is not installed |",
    }
    assert "\n".join(lines[2:5]) in capsys.readouterr().out
    assert "old" not in page.read_text()


def test_a_dataset_that_xarray_reads_otherwise_is_told(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    xr = pytest.importorskip("xarray")
    real_files = importlib.import_module("benchmarks.real_files")
    xr.Dataset({"t": ("x", [1.5])}).to_netcdf(tmp_path / "a.nc")
    store = atlas.Atlas.create(tmp_path / "store")
    result = store.add_many(tmp_path / "a.nc").results[0]
    assert real_files._difference(store, result, tmp_path / "a.nc") is None
    xr.Dataset({"t": ("x", [2.5])}).to_netcdf(tmp_path / "a.nc")
    assert "Differing data variables" in real_files._difference(store, result, tmp_path / "a.nc")
