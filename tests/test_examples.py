"""Every example runs by itself, without warnings, and prints what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
SAYS = {
    "01_basics.py": ["'null_count': 32, 'min': 12.0, 'max': 12.0", "refused: the region start=[7, 0]"],
    "02_xarray.py": ["2024-12    18.35", "refused: variable 'wave'", "with_waves was stored: False"],
    "03_dask_streaming.py": ["chunksize=(10, 250, 400)", "daily means (250,)", "chunks set by the caller (20, 50, 50)"],
    "05_versions_and_writers.py": ["conflict in (('monday', 'level'),)", "[ 1.  9. 10.  1.]", "in version 8"],
    "04_bulk_reads.py": ["5000 datasets in 4 files", "(5000, 1) in ", "dtype=float32), None]"],
}


def test_every_example_is_run():
    assert sorted(path.name for path in FOLDER.glob("*.py")) == sorted(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error::UserWarning", "-W", "error::DeprecationWarning:__main__", FOLDER / name]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    for text in SAYS[name]:
        assert text in run.stdout
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"
