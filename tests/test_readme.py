"""What the README promises: its blocks run as they stand and print what they show, in the order of the page."""

from __future__ import annotations

import ast
import code
import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from atlas.cli import main
from atlas.engine import AtlasBackendEntrypoint

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


SET_UP = "python3 -m venv .venv && "
"""How the two commands begin that set up everything: `.ci/run` runs the tests by one of them, users the demo."""


def blocks(*languages: str) -> list[str]:
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```"
    return re.findall(pattern, README, flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Return the command lines of a shell block, each with the lines that it is said to print.

    No comment follows a command: zsh, as it comes, takes one for arguments.
    """
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("# "):
            found[-1][1].append(line.removeprefix("# "))
        else:
            assert " #" not in line
            found.append((line, []))
    return found


def run_shell(block: str, folder: Path, begin: str) -> None:
    """Run `begin` and the lines of a shell block, without those that set up, and compare what each line prints."""
    lines = [(command, shown) for command, shown in commands(block) if not command.startswith(SET_UP)]
    script = "".join(f"{command}\nprintf '\\0%s\\0' $?\n" for command, _ in lines)
    run = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{begin}\n{script}"], cwd=folder, stdout=subprocess.PIPE, text=True, check=False
    )
    *results, rest = run.stdout.split("\0")
    assert rest == "", run.stdout
    for (command, shown), printed, status in zip(lines, results[::2], results[1::2], strict=True):
        assert status == "0", (command, printed)
        assert same_output(printed, "\n".join(shown)), (command, printed)


def run_python(block: str, console: code.InteractiveConsole) -> None:
    """Paste a Python block at the prompt of `console`, and compare what each `print` line prints."""
    printed, failed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(failed):
        for line in [*block.splitlines(), ""]:
            console.push(line)
    assert failed.getvalue() == ""
    shown = [line.partition(")  # ")[2] for line in block.splitlines() if line.startswith("print(")]
    assert all(shown), "a print without its output"
    assert printed.getvalue().splitlines() == shown


def same_output(printed: str, shown: str) -> bool:
    """Return whether the output is the one shown, where `...` stands for any text, and sizes and times may differ."""
    printed, shown = (re.sub(r"[\d.]+ (?:B|KiB|MiB|s)\b", "#", " ".join(text.split())) for text in (printed, shown))
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), printed) is not None


def test_the_comparison_tells_outputs_apart():
    assert same_output("stored 2 files in 1.5 s\n", "stored 2 files in 0.3 s")
    assert same_output("a\n  b\nc d\n", "a ... d")
    assert not same_output("stored 2 files in 1.5 s", "stored 3 files in 1.5 s")
    assert not same_output("a b c", "a ... d")
    assert not same_output("a b", "a")
    assert not same_output("", "a")


def test_every_block_runs_as_pasted_and_python_twice_and_prints_what_is_shown(tmp_path, monkeypatch):
    pytest.importorskip("iris_sample_data")
    environment = Path(sys.prefix)
    if not (environment / "bin" / "activate").exists():
        pytest.skip("no virtual environment to activate")
    (tmp_path / ".venv").symlink_to(environment)
    monkeypatch.chdir(tmp_path)
    first, *_ = shells = blocks("bash")
    monkeypatch.setattr(sys, "displayhook", lambda value: None)
    console = code.InteractiveConsole()
    for block in blocks("bash", "python"):
        if block in shells:
            # The lines of the first activate the environment themselves.
            run_shell(block, tmp_path, "" if block == first else ". .venv/bin/activate")
        else:
            run_python(block, console)
    again = code.InteractiveConsole()
    for block in blocks("python"):
        run_python(block, again)


def run_page(name: str, count: int) -> None:
    """Run the Python blocks of a section, `page.md#heading`, or a page, and compare each value with its comment."""
    page, _, heading = name.partition("#")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    names: dict[str, object] = {}
    found = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == count
    statements = [(block.splitlines(), statement) for block in found for statement in ast.parse(block).body]
    for lines, statement in statements:
        line = lines[statement.lineno - 1]
        if isinstance(statement, ast.Expr) and "  # " in line:
            expression, _, said = line.partition("  # ")
            value = eval(expression, names)
            said = said.rpartition("shape ")[2] if ": shape" in said else said
            shown = value.shape if isinstance(value, np.ndarray) else value
            np.testing.assert_equal(shown, eval(said, {"np": np, "dtype": np.dtype, "nan": np.nan}))
        else:
            exec(compile(ast.Module([statement], []), page, "exec"), names)


def test_the_page_on_arrays_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("arrays.md", 3)


def test_the_page_on_many_as_one_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("many.md", 9)


def test_the_page_on_ingest_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("ingest.md", 6)


def test_the_section_on_replacing_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("xarray.md#Replacing a dataset", 1)


def test_the_section_on_the_engine_of_xarray_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # As in an installation: this tree may be on the path alone.
    engines = {**xr.backends.list_engines(), "atlas": AtlasBackendEntrypoint()}
    monkeypatch.setattr("xarray.backends.plugins.list_engines", lambda: engines)
    run_page("xarray.md#Through xarray's own door", 3)


def test_one_line_runs_the_demo_and_another_the_tests():
    demo, tests = (line for line in README.splitlines() if line.startswith(SET_UP))
    for line, extra, job in ((demo, "demo", ".venv/bin/atlas demo"), (tests, "test", ".venv/bin/python -m pytest")):
        assert f"'.[{extra}]'" in line
        assert job in line.split(" && ")[-1]
    # `.ci/run` finds the second by its extra.
    assert next(line for line in README.splitlines() if "[test]" in line) == tests


def test_the_shell_blocks_show_every_command():
    lines = [shlex.split(command) for block in blocks("bash") for command, _ in commands(block)]
    shown, existing = {line[1] for line in lines if line[0] == "atlas"}, set(main.commands) - {"demo", "warmup"}
    assert shown == existing, f"the shell blocks of README.md: add {existing - shown}, drop {shown - existing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
