"""What streaming costs in memory: a few chunks, however large the variable. Measured in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.subprocesses import run_python

STREAM = """
    import resource, shutil, sys, tempfile
    import dask.array as da, numpy as np, xarray as xr, atlas

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def block(block_info=None):
        (low, high), _ = block_info[None]["array-location"]
        return np.random.default_rng(low).random((high - low, 1024), np.float32)

    mebibytes, chunk = int(sys.argv[1]), 4096  # rows of 4 KiB: chunks of 16 MiB
    def stream(mebibytes, folder):
        rows = mebibytes * 256
        lazy = da.map_blocks(block, chunks=(da.core.normalize_chunks(chunk, (rows,))[0], (1024,)), dtype="f4")
        with atlas.Atlas.create(folder) as store:
            store.add_xr_dataset(xr.Dataset({"t": (("x", "y"), lazy)}), "d")
        return lazy

    folder = tempfile.mkdtemp(dir=sys.argv[2])
    try:
        stream(32, folder + "/warm")
        baseline = peak()
        lazy = stream(mebibytes, folder + "/s")
        written = peak()
        view = atlas.Atlas.open(folder + "/s").open_dataset("d")
        for at in (0, lazy.shape[0] - chunk):
            assert (view.read_array("t", [at, 0], [chunk, 1024]) == lazy[at : at + chunk].compute()).all()
        assert view.array_stats("t")["null_count"] == 0
        print(round(baseline), round(written), round(peak()))
    finally:
        shutil.rmtree(folder)
"""


@pytest.mark.bulky
def test_streaming_half_a_gibibyte_holds_a_few_chunks(tmp_path):
    baseline, written, read = map(int, run_python(STREAM, 512, tmp_path).split())
    assert written - baseline < 250, (baseline, written)
    assert read - baseline < 300, (baseline, read)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_streaming_four_gibibytes_stays_under_600_mebibytes(tmp_path):
    _, written, read = map(int, run_python(STREAM, 4096, tmp_path, timeout=1700).split())
    assert max(written, read) < 600


WRITE = """
    import shutil, sys, tempfile
    import numpy as np, atlas

    def status(field):
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024

    how, folder = sys.argv[1], tempfile.mkdtemp(dir=sys.argv[2])
    chunk = {"one": None, "whole": [256, 1024], "part": [256, 1024], "tiny": [1, 1024], "stacked": None}[how]
    try:
        for mebibytes in (1, 512):  # the first compiles, and loads what is needed
            cells = np.random.default_rng(0).standard_normal((mebibytes * 256, 1024), np.float32)
            store = atlas.Atlas.create(f"{folder}/{mebibytes}")
            if how == "stacked":
                names = [f"d{at}" for at in range(len(cells) // 64)]
                store.create_datasets(names)
            else:
                view = store.create_dataset("d")
                view.define_array("t", "float32", ["x", "y"], cells.shape, chunk)
            if how == "part":
                cells = cells[:, :1000].copy()
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            held = status("VmRSS")
            if how == "stacked":
                store.write_array_across_stacked("t", names, cells.reshape(len(names), 64, 1024))
            else:
                view.write_array("t", [0, 0], cells)
            store.flush()
        print(round(status("VmHWM") - held))
    finally:
        shutil.rmtree(folder)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", ["one", "whole", "part", "tiny", "stacked"])
def test_a_write_of_half_a_gibibyte_takes_less_than_256_mebibytes(tmp_path, how):
    assert int(run_python(WRITE, how, tmp_path, timeout=600)) < 256
