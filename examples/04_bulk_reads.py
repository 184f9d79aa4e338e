"""Read one variable across thousands of datasets in one call: what the store is made for."""

import tempfile
import time
from pathlib import Path

import numpy as np

import atlas

STATIONS, HOURS = 5000, 168


def main() -> None:
    rng = np.random.default_rng(1)
    base = 12 + 6 * np.sin(np.arange(HOURS) * 2 * np.pi / 24)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with atlas.Atlas.create(path) as store:
            for number in range(STATIONS):
                ds = store.create_dataset(f"station_{number:04d}")
                week = (base + rng.normal(0, 1) + rng.normal(0, 0.3, HOURS)).round(1).astype(np.float32)
                ds.define_array("temperature", "float32", ["hour"], [HOURS])
                ds.write_array("temperature", [0], week)
                ds.set_attribute("height", int(rng.integers(0, 3000)))
        files = [file for file in path.rglob("*") if file.is_file()]
        print(f"{STATIONS} datasets in {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")

        store = atlas.Atlas.open(path)
        names = store.list_datasets()

        for attempt in ("first", "again"):  # the first call loads the kernels and the index
            begun = time.perf_counter()
            noon = store.read_array_across_stacked("temperature", names, start=[12], shape=[1])
            print(
                f"{attempt}: noon at {len(names)} stations {noon.shape} in {(time.perf_counter() - begun) * 1e3:.1f} ms"
            )

        # Datasets may lack the array or differ in shape: this returns a list, with None for what is missing.
        some = store.read_array_across("temperature", ["station_0007", "no such station"], start=[0], shape=[3])
        print(some)

        # Many datasets as one xr.Dataset.
        week = store.to_xarray_many(names[:100], concat_dim="station")
        print(week["temperature"].sizes)

        # Several arrays of one dataset.
        print(store.open_dataset("station_0042").read_arrays(["temperature"], start=[0], shape=[4]))


if __name__ == "__main__":
    main()
