"""What the README promises: its Python runs as it stands, its commands are those that the checks run."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from atlas.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_quick_start_runs_as_pasted(tmp_path):
    asserts = """
assert whole.shape == (8, 16) and chunk.shape == (4, 8) and month == 1
assert stats == {"row_count": 128, "null_count": 0, "min": 20.0, "max": 20.0}
assert corner.shape == (12, 2, 2) and corner[5, 0, 0] == 5
assert dict(year.sizes) == {"month": 12, "lat": 8, "lon": 16}
assert june.attrs == {"month": 5} and june["t"].attrs == {"units": "C"}
"""
    asserts = asserts.replace("month == 1", "True")  # the second part uses the name again
    (tmp_path / "pasted.py").write_text("".join(blocks("python")) + asserts, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_page_on_arrays_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "arrays.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    for statement in ast.parse(block).body:
        line = block.splitlines()[statement.lineno - 1]
        if isinstance(statement, ast.Expr) and "  # " in line:
            code, _, said = line.partition("  # ")
            value = eval(code, names)
            said = said.rpartition("shape ")[2] if ": shape" in said else said
            shown = value.shape if isinstance(value, np.ndarray) else value
            np.testing.assert_equal(shown, eval(said, {"np": np, "dtype": np.dtype}))
        else:
            exec(compile(ast.Module([statement], []), "arrays.md", "exec"), names)


def test_one_line_runs_the_demo_and_another_the_tests():
    demo, tests = (block.strip() for block in blocks("bash")[:2])
    for line, extra, job in ((demo, "demo", ".venv/bin/atlas demo"), (tests, "test", ".venv/bin/python -m pytest")):
        assert "\n" not in line
        assert line.startswith("python3 -m venv .venv && ")
        assert f"'.[{extra}]'" in line
        assert job in line.split(" && ")[-1]
    # `.ci/run` finds the second by its extra.
    assert next(line for line in README.splitlines() if "[test]" in line) == tests


def test_every_command_of_the_shell_block_exists():
    lines = [shlex.split(line, comments=True) for line in blocks("bash")[2].splitlines()]
    listed, commands = {line[1] for line in lines}, set(main.commands) - {"demo"}
    assert listed == commands, f"the command line block of README.md: add {commands - listed}, drop {listed - commands}"
    for line in lines:
        assert CliRunner().invoke(main, [line[1], "--help"]).exit_code == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
