from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

from atlas.cli import main

SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
"""What click before 8.2 needs to capture stderr by itself; later versions always do."""


@pytest.fixture
def run():
    """Run a command line and return its result; `code` is the exit code that is expected."""

    def call(*args: object, code: int = 0) -> Result:
        result = CliRunner(**SEPARATE).invoke(main, [str(arg) for arg in args])
        shown = (result.exit_code, result.stdout, result.stderr, result.exception)
        assert result.exit_code == code, shown
        assert result.exception is None or isinstance(result.exception, SystemExit), shown
        return result

    return call


@pytest.fixture(autouse=True)
def by_number(monkeypatch):
    """First commits come by the number of files alone, on a busy machine too."""
    monkeypatch.setattr("atlas.ingest.commits._FIRST_SECONDS", math.inf)


def month(number: int) -> xr.Dataset:
    """A small dataset with a packed variable, times, text and a gap."""
    cells = np.arange(12, dtype=np.float32).reshape(3, 4) + number
    cells[0, 0] = np.nan
    return xr.Dataset(
        {
            "t": (("y", "x"), cells, {"units": "K", "long_name": "temperature"}),
            "station": ((), "De Bilt"),
        },
        coords={"x": np.arange(4), "time": np.datetime64(f"2024-0{number}-01", "ns")},
        attrs={"title": f"month {number}", "run": np.int32(7)},
    )


@pytest.fixture
def folder(tmp_path):
    """A folder of three months, one of them deeper."""
    root = tmp_path / "files"
    (root / "deep" / "er").mkdir(parents=True)
    month(1).to_netcdf(root / "jan.nc")
    month(2).to_netcdf(root / "deep" / "feb.nc4")
    month(3).to_netcdf(
        root / "deep" / "er" / "mar.2024.NC", encoding={"t": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}}
    )
    (root / "readme.txt").write_text("no data")
    return root


@pytest.fixture
def store(run, folder, tmp_path):
    """A store of that folder."""
    run("create", folder, tmp_path / "store")
    return tmp_path / "store"
