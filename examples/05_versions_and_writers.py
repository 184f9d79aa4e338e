"""Two writers on one store: changes that merge, a conflict and its resolution, the history, and a rollback."""

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
        path = Path(folder) / "levels"
        ours = Atlas.create(path)
        add_day(ours, "monday", 1)
        ours.flush(message="the first day")

        # Another handle, as of another process or machine. Both start from the same version.
        theirs = Atlas.open(path)
        add_day(ours, "tuesday", 2)
        add_day(theirs, "wednesday", 3)
        ours.flush()
        theirs.flush()
        print("both committed:", theirs.list_datasets())
        print("ours still at version", ours.version, ours.list_datasets())
        ours.refresh()
        print("ours after refresh: version", ours.version, ours.list_datasets())

        # Writes to different chunks (halves of the day) merge; writes to different cells of one chunk conflict.
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
            print("conflict in", error.collisions)  # the pending write is kept
            theirs.refresh()
            theirs.flush(message="hour 6, on top of hour 5")
        print("hours 4 to 7:", theirs.open_dataset("monday").read_array("level", [4], [4]))

        print("\nhistory")
        for version in theirs.history():
            print(version)

        theirs.rollback(1, message="start again")
        print("\nrolled back to", theirs.list_datasets(), "in version", theirs.version)
        print("version 3 still has", Atlas.open(path, version=3).list_datasets())
        print("no damage:", theirs.verify().ok)
        print("compacted:", theirs.compact(keep_days=0))


if __name__ == "__main__":
    main()
