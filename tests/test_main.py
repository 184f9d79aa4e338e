"""`python -m atlas` is the command `atlas`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ls", "nowhere"], ["unknown"]])
def test_the_module_does_what_the_command_does(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "atlas", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    script = "from atlas.cli import main; main(prog_name='atlas')"
    wanted = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (wanted.stdout, wanted.stderr, wanted.returncode)
    assert "atlas" in done.stdout + done.stderr
    assert "__main__" not in done.stdout + done.stderr


def test_importing_the_module_runs_nothing():
    done = subprocess.run(
        [sys.executable, "-c", "import atlas.__main__"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == done.stderr == ""
