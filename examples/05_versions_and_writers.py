"""Two writers on one store, a collision, and going back: who changes what lands, and nothing is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from atlas import Atlas
from atlas.errors import ConflictError


def add_day(store: Atlas, name: str, level: float) -> None:
    """Create a dataset of one array."""
    day = store.create_dataset(name)
    day.define_array("level", "float32", ["hour"], [24], [12])
    day.write_array("level", [0], np.full(24, level, np.float32))


def main() -> None:
    """Run the example."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "levels"
        ours = Atlas.create(place)
        add_day(ours, "monday", 1)
        ours.flush(message="the first day")

        # Another process, or another machine: both change the store from the same version on.
        theirs = Atlas.open(place)
        add_day(ours, "tuesday", 2)
        add_day(theirs, "wednesday", 3)
        ours.flush()
        theirs.flush()
        print("both landed:", theirs.list_datasets())
        print("ours still shows version", ours.version, ours.list_datasets())
        ours.refresh()
        print("and after a refresh", ours.version, ours.list_datasets())

        # Different halves of the day are different chunks, and land as well; the same hour is a collision.
        ours.open_dataset("monday").write_array("level", [0], np.array([7], np.float32))
        theirs.open_dataset("monday").write_array("level", [23], np.array([8], np.float32))
        ours.flush()
        theirs.flush()
        ours.refresh()
        ours.open_dataset("monday").write_array("level", [5], np.array([9], np.float32))
        theirs.open_dataset("monday").write_array("level", [6], np.array([10], np.float32))
        ours.flush(message="hour 5")
        try:
            theirs.flush(message="hour 6")
        except ConflictError as error:
            print("told, and kept:", error.collisions)
            theirs.refresh()
            theirs.flush(message="hour 6, on top of hour 5")
        print("both hours are there:", theirs.open_dataset("monday").read_array("level", [4], [4]))

        print("\nhistory")
        for version in theirs.history():
            print(version)

        theirs.rollback(1, message="start again")
        print("\nrolled back to", theirs.list_datasets(), "in version", theirs.version)
        print("and version 3 is still there:", Atlas.open(place, version=3).list_datasets())
        print("whole:", theirs.verify().ok, "- bytes reclaimed:", theirs.compact(keep_days=0))


if __name__ == "__main__":
    main()
