"""Write a dask-backed dataset block by block, and read it back as lazy arrays with the same chunks."""

import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

import atlas


def main() -> None:
    # 100 MB that are never in memory at once: each block is computed, written and released.
    shape, chunks = (250, 250, 400), (10, 250, 400)
    blocks = da.random.default_rng(7).normal(15, 8, size=shape, chunks=chunks).round(1).astype(np.float32)
    ds = xr.Dataset(
        {"temperature": (("time", "lat", "lon"), blocks, {"units": "C"})},
        coords={"time": np.datetime64("2024-01-01", "ns") + np.arange(shape[0]) * np.timedelta64(1, "D")},
    )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with atlas.Atlas.create(path) as store:
            store.add_xr_dataset(ds, "big")  # stored with the chunks of dask
            store.add_xr_dataset(ds.isel(time=slice(0, 20)), "small", chunks={"temperature": [20, 50, 50]})

        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        print(f"{ds.nbytes / 1e6:.0f} MB of arrays in {size / 1e6:.0f} MB")

        back = atlas.Atlas.open(path).to_xarray("big")
        print(back["temperature"].data)
        # dask reads only the chunks that it needs: here 1 of 25.
        print("first day ", float(back["temperature"][0].mean().compute()))
        # Any dask scheduler works: lazy arrays can be pickled.
        mean = back["temperature"].mean(("lat", "lon"))
        print("daily means", mean.compute(scheduler="threads").shape)

        small = atlas.Atlas.open(path).to_xarray("small")
        print("chunks set by the caller", small["temperature"].data.chunksize)


if __name__ == "__main__":
    main()
