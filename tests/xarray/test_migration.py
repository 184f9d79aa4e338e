"""The scripts of docs/migration.md, run with this package: it has every atlas-python call that they use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import xarray as xr

from atlas import Atlas

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"


def test_a_store_taken_over_reads_as_before(tmp_path):
    cells = np.array([[1, np.nan], [3, 4]], np.float32)
    ds = xr.Dataset(
        {
            "t": (("y", "x"), cells, {"units": "K", "_FillValue": np.float32(np.nan)}),
            "text": ("x", np.array(["a", "Zürich"], object)),
            "when": ("x", np.array([1, 2], "M8[ns]")),
            "nothing": ("none", np.zeros(0)),
        },
        coords={"x": [1, 2], "lon": ("x", [0.5, 1.5])},
        attrs={"month": 1, "title": "ü"},
    )
    with Atlas.create(tmp_path / "old") as store:
        store.add_xr_dataset(ds, "b.2")
        store.add_xr_dataset(ds.chunk({"x": 1}), "a")
        view = store.create_dataset("odd")
        view.define_array("never", "int16", ["x"], [4], [2], fill_value=-1)
        view.set_attribute("on", value=True)
    scripts = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for script, args in zip(scripts, (["old", "exported"], ["exported", "new"]), strict=True):
        subprocess.run([sys.executable, "-c", script, *args], cwd=tmp_path, check=True)
    store = Atlas.open(tmp_path / "new")
    assert store.list_datasets() == ["b.2", "a", "odd"]
    for name in ("b.2", "a"):
        xr.testing.assert_identical(store.to_xarray(name), ds)
    assert store.to_xarray("a")["t"].chunks == ((2,), (1, 1))
    assert store.open_dataset("odd").read_array("never").tolist() == [-1] * 4
    assert store.open_dataset("odd").attributes() == {"on": True}
