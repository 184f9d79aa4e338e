"""The pictures of the docs that a script beside them draws are those that it draws."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

image = pytest.importorskip("matplotlib.image")

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("script", sorted(DOCS.glob("*.py")), ids=lambda path: path.stem)
def test_a_picture_is_what_its_script_draws(script, tmp_path):
    runpy.run_path(str(script))["draw"](tmp_path / "drawn.png")
    picture = script.with_suffix(".png")
    drawn, documented = (image.imread(path) for path in (tmp_path / "drawn.png", picture))
    assert drawn.shape == documented.shape
    assert picture.stat().st_size < 150_000
    # Other versions of matplotlib place a letter or a line a little differently.
    assert abs(drawn - documented).mean() < 0.02
    assert f"]({picture.name})" in script.with_suffix(".md").read_text(encoding="utf-8")
