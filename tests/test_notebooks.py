"""Notebooks are stored without outputs, run from top to bottom, and draw pictures that are not empty."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
image = pytest.importorskip("matplotlib.image")

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent.parent / "notebooks"
PICTURES = {"profiles.ipynb": 3, "real_data.ipynb": 4}


def test_every_notebook_is_run():
    assert sorted(path.name for path in FOLDER.glob("*.ipynb")) == sorted(PICTURES)


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_notebook(name, tmp_path, monkeypatch):
    # The kernel's own files, fonts and connections stay out of the user's folders.
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells), "clear the outputs before you commit"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the libraries that talk to the kernel
        nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PICTURES[name]
    for picture in pictures:
        pixels = image.imread(io.BytesIO(base64.b64decode(picture)))[..., :3]
        assert len(np.unique((pixels * 15).astype(int).reshape(-1, 3), axis=0)) > 20, "a picture is all but empty"
