"""Distributions made for tests: the metadata and wheel of this tree, and another package that is imported as atlas."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(hook: str, folder: Path) -> Path:
    """Call a hook of the build backend on this tree; returns what it makes in `folder`."""
    script = f"import sys; from hatchling.build import {hook}; print({hook}(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="session")
def built_metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `*.dist-info` that an installation of this tree would have."""
    return build("prepare_metadata_for_build_wheel", tmp_path_factory.mktemp("metadata"))


def make_namesake(folder: Path) -> Path:
    """Write a wheel that is called atlas-python and has a package `atlas`, like the published one."""
    info = "atlas_python-0.9.1.dist-info"
    files = {
        "atlas/__init__.py": "from atlas._core import NAMESAKE\n",
        "atlas/_core.py": "NAMESAKE = True\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: atlas-python\nVersion: 0.9.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / "atlas_python-0.9.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path
