"""Write an xr.Dataset to a store, by method or accessor; read one back, and read many stacked into one."""

import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

import atlas


def make_month(month: int) -> xr.Dataset:
    cells = np.arange(8 * 16, dtype=np.float32).reshape(8, 16) / 10 + month
    return xr.Dataset(
        data_vars={
            "temperature": (["lat", "lon"], cells, {"units": "C", "long_name": "surface temperature"}),
            "observed": (["lat"], np.arange("2024-01-01", "2024-01-09", dtype="M8[D]").astype("M8[s]")),
            "comment": ((), "checked"),
        },
        coords={"lat": np.arange(8, dtype=np.float32), "lon": np.arange(16, dtype=np.float32)},
        attrs={"month": month, "station": "KNMI", "levels": np.array([2.0, 10.0])},
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        names = [f"2024-{month:02d}" for month in range(1, 13)]
        with atlas.Atlas.create(path) as store:
            for month, name in enumerate(names, start=1):
                ds = make_month(month)
                if month % 2:
                    store.add_xr_dataset(ds, name)
                else:
                    ds.atlas.write(store, name)  # the same

        store = atlas.Atlas.open(path)
        back = store.to_xarray("2024-03")
        xr.testing.assert_identical(back, make_month(3))  # also dtypes, attributes and time units
        print(back)

        year = store.to_xarray_many(names, concat_dim="month")
        print(year["temperature"].mean(("lat", "lon")).to_series())

        # A dataset is stored whole or not at all.
        try:
            store.add_xr_dataset(make_month(1).assign(wave=("lat", np.ones(8, complex))), "with_waves")
        except NotImplementedError as error:
            print("refused:", error)
        print("with_waves was stored:", store.dataset_exists("with_waves"))


if __name__ == "__main__":
    main()
