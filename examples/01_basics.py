"""Create a store, define and write arrays, set attributes, and read whole arrays and boxes back."""

import tempfile
from pathlib import Path

import numpy as np

import atlas


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"

        # Nothing is on disk before flush(), which the end of the `with` block calls.
        with atlas.Atlas.create(path, codec="zstd") as store:
            for month, name in enumerate(["jan_2024", "feb_2024", "mar_2024"], start=1):
                ds = store.create_dataset(name)
                ds.define_array(
                    "temperature",
                    dtype="float32",
                    dims=["lat", "lon"],
                    shape=[8, 16],
                    chunk_shape=[4, 8],
                    fill_value=float("nan"),  # cells never written read as NaN and count as nulls
                )
                ds.write_array("temperature", start=[0, 0], data=np.full((6, 16), 10.0 + month, np.float32))
                ds.define_array("observed", dtype="timestamp_nanoseconds", dims=[], shape=[])
                ds.write_array("observed", start=[], data=np.array(f"2024-{month:02d}-15T12:00", "M8[ns]"))
                ds.define_array("station", dtype="string", dims=["station"], shape=[2])
                ds.write_array("station", start=[0], data=np.array(["De Bilt", "Zürich"]))
                ds.set_attribute("month", month)
                ds.set_attribute("checked", value=True)

        store = atlas.Atlas.open(path)
        print(store, store.list_datasets(), store.list_arrays())

        ds = store.open_dataset("feb_2024")
        print(ds, ds.attributes(), ds.array_meta("temperature"))
        whole = ds.read_array("temperature")
        corner = ds.read_array("temperature", start=[4, 0], shape=[4, 3])  # reads one chunk
        print("whole", whole.shape, "corner", corner.tolist())
        print("observed", ds.read_array("observed"), "stations", ds.read_array("station").tolist())
        print("statistics", ds.array_stats("temperature"))

        # This handle sees changes at once; other handles see them after the flush.
        ds.write_array("temperature", start=[6, 0], data=np.full((2, 16), -1.0, np.float32))
        ds.delete_attribute("checked")
        store.delete_dataset("mar_2024")
        store.flush()
        again = atlas.Atlas.open(path)
        print(again.list_datasets(), again.open_dataset("feb_2024").array_stats("temperature"))

        # Invalid input raises an error that says why, and changes nothing.
        try:
            ds.write_array("temperature", start=[7, 0], data=np.zeros((4, 16), np.float32))
        except ValueError as error:
            print("refused:", error)


if __name__ == "__main__":
    main()
