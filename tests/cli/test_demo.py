from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from atlas import Atlas
from atlas.cli.demo import draw_months

PICTURE = Path(__file__).parent.parent.parent / "docs" / "demo.png"


@pytest.mark.bulky
def test_the_demo_builds_lists_shows_reads_and_draws(run, tmp_path):
    out = run("demo", "--to", tmp_path / "demo").stdout
    store = Atlas.open(tmp_path / "demo" / "store")
    months = [name for name in store.list_datasets() if "nemo_1m" in name]
    assert len(store.list_datasets()) == 15
    assert len(months) == 3
    for text in (
        f"$ atlas ls --long {tmp_path}",
        "tos:standard_name",
        "float32 (3, 1, 330, 360)",
        "2015-01:  -2.06 to 34.45 °C",
    ):
        assert text in out
    assert f"The picture is {tmp_path / 'demo' / 'nemo_months.png'}" in out
    image = pytest.importorskip("matplotlib.image")
    drawn, documented = (image.imread(path) for path in (tmp_path / "demo" / "nemo_months.png", PICTURE))
    assert drawn.shape == documented.shape
    assert PICTURE.stat().st_size < 150_000
    # Other versions of matplotlib place a letter or a colour a little differently.
    assert abs(drawn - documented).mean() < 0.02
    again = run("demo", "--to", tmp_path / "demo", code=1)
    assert "a store already exists" in again.stderr
    assert "--to" in again.stderr
    assert "overwrite" not in again.stderr


def test_the_picture_shows_the_ocean(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    y, x = np.meshgrid(np.linspace(-70, 80, 60), np.linspace(-180, 180, 120), indexing="ij")
    cells = np.where(abs(x) < 40, np.nan, 30 - abs(y) / 3)[None] + np.arange(3)[:, None, None]
    draw_months(tmp_path / "a.png", ["a", "b", "c"], cells.astype(np.float32), y, x)
    pixels = image.imread(tmp_path / "a.png")
    assert pixels.shape[1] > 1000
    saturated = (pixels[..., :3].max(axis=-1) - pixels[..., :3].min(axis=-1)) > 0.5
    assert 0.1 < saturated.mean() < 0.6


@pytest.mark.parametrize("module", ["iris_sample_data", "matplotlib"])
def test_without_the_extra_it_says_what_to_install(run, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    result = run("demo", "--to", tmp_path / "demo", code=1)
    assert module in result.stderr
    assert "the extra 'demo' of atlas-store" in result.stderr
    assert not (tmp_path / "demo").exists()
