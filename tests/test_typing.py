"""Programs of users pass `mypy --strict`, and what is wrong in them does not."""

from __future__ import annotations

import pytest
from mypy import api

pytestmark = pytest.mark.slow

PROGRAM = """
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import atlas
from atlas import ArrayStatistics, ArrayView, DatasetView, StoreSource


def means(source: StoreSource) -> Iterator[float]:
    with atlas.Atlas.open(source, mode="r") as store:
        for name in store:
            yield float(store[name].read_array("temperature").mean())


def warmest(view: DatasetView) -> float | None:
    stats = view["temperature"].stats
    highest = None if stats is None else stats["max"]
    return None if highest is None else float(highest)


def largest(array: ArrayView) -> ArrayStatistics | None:
    return array.stats


with atlas.Atlas.create("my_store", codec="zstd", filter="auto") as store:
    ds = store.create_dataset("jan_2024")
    ds.define_array(
        "temperature", dtype="float32", dims=["lat", "lon"], shape=[8, 16], chunk_shape=[4, 8], fill_value=float("nan")
    )
    ds.write_array("temperature", start=[0, 0], data=np.full((8, 16), 20.0, dtype=np.float32))
    ds.set_attribute("month", 1)
    ds["temperature"][0:4, ::2, ] = 1.5
    ds["temperature"][[0, 1], ..., None] = [[[1.0]]]
    ds["temperature"].attrs["units"] = "degC"

store = atlas.Atlas.open(Path("my_store"))
whole = store["jan_2024"].read_array("temperature")
cells: NDArray[np.float32] = store["jan_2024"]["temperature"][0:4, ::2]
print(whole[0].sum(), cells.mean(), len(store), "jan_2024" in store, store["jan_2024"]["temperature"].shape[0] + 1)
stats = ds.array_stats("temperature")
print(stats["min"], ds.array_meta("temperature")["shape"][0] + 1)
store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0])}), "feb", chunks={"t": [1]})
year: xr.Dataset = store.to_xarray_many(["feb"], concat_dim="month")
stacked: NDArray[np.float32] = store.read_array_across_stacked("temperature", ["jan_2024"], start=[0, 0])
many = [cells.shape for cells in store.read_array_across("temperature", ["jan_2024"]) if cells is not None]
columns: atlas.ArrayStatsColumns = store.array_stats_across("temperature")
print([name for name, top in zip(columns.names, columns.max.tolist()) if top > 5], columns.present.all())
months: atlas.AttributeColumn = store.attributes_across(["jan_2024"], keys=["month"])["month"]
print(months.values.max(), store.attributes_across(array="temperature")["units"].present.any())
report = atlas.verify("my_store", progress=lambda done, total: print(done / total))
try:
    store["gone"]
except atlas.errors.DatasetNotFoundError as error:
    print(error)
del store["feb"]
"""
WRONG = {
    'atlas.Atlas.create("s", codec="gzip")': "arg-type",
    'atlas.Atlas.open("s", mode="w")': "arg-type",
    "atlas.Atlas.open(5)": "arg-type",
    'atlas.Atlas.open("s")[0]': "index",
    'atlas.Atlas.open("s")["d"]["t"].shape + 1': "operator",
    'atlas.Atlas.open("s").array_stats_across("t").has_minimum': "attr-defined",
    'atlas.Atlas.open("s").attributes_across(array=3)': "arg-type",
    'atlas.verify("s", progress="yes")': "arg-type",
}
WITH_OBSTORE = """
import obstore.store

import atlas

atlas.Atlas.create(obstore.store.MemoryStore())
atlas.Atlas.open(obstore.store.S3Store("bucket"), mode="r")
"""


PROGRAMS = {"program": PROGRAM, "obstore": WITH_OBSTORE, "wrong": "import atlas\n\n" + "\n".join(WRONG) + "\n"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What mypy says of each program, line by line."""
    folder = tmp_path_factory.mktemp("programs")
    paths = {name: folder / f"{name}.py" for name in PROGRAMS}
    for name, path in paths.items():
        path.write_text(PROGRAMS[name], encoding="utf-8")
    flags = ["--strict", "--no-error-summary", "--cache-dir", str(folder / "cache")]
    out, errors, _ = api.run([*flags, *map(str, paths.values())])
    assert errors == ""
    return {name: [line for line in out.splitlines() if f"{name}.py:" in line] for name in PROGRAMS} | {"all": out}


@pytest.mark.parametrize("name", ["program", "obstore"])
def test_a_program_of_a_user_passes(found, name):
    assert found[name] == []


def test_what_is_wrong_is_found(found):
    for line, kind in enumerate(WRONG.values(), start=3):
        said = [text for text in found["wrong"] if f":{line}: error:" in text]
        assert [text.rpartition(" ")[2] for text in said] == [f"[{kind}]"], found["all"]
