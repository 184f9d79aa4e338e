"""The installed command in a real terminal: a progress bar, whole lines, and no control codes outside of a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from atlas import Atlas
from atlas.kernels import compiler

COMMAND = [sys.executable, "-c", "from atlas.cli import main; main(prog_name='atlas')"]


def in_terminal(*args: str, **variables: str) -> tuple[int, str]:
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm", **variables}
    with subprocess.Popen([*COMMAND, *args], stdin=inside, stdout=inside, stderr=inside, env=environment) as process:
        os.close(inside)
        parts = []
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(terminal)
    return process.returncode, b"".join(parts).decode()


def test_messages_do_not_break_the_progress_bar(folder, tmp_path):
    (folder / "broken.nc").write_bytes(b"nothing")
    code, out = in_terminal("create", str(folder), str(tmp_path / "s"))
    assert code == 1
    assert "file/s" in out
    assert "0/4" in out
    lines = out.replace("\r\n", "\n").replace("\r", "\n").splitlines()
    assert any(line.startswith(f"not stored: {folder / 'broken.nc'}: ") for line in lines)
    assert lines[-1] == "Error: 1 of 4 files not stored; the reasons are above"


def test_a_terminal_shows_the_first_datasets_and_the_last_versions(tmp_path):
    with Atlas.create(tmp_path / "s") as target:
        for number in range(60):
            target.create_dataset(f"d{number:02d}")
            target.flush()
    names = [f"d{number:02d}" for number in range(60)]
    code, out = in_terminal("ls", str(tmp_path / "s"))
    assert (code, out.splitlines()) == (0, [*names[:50], "… and 10 more; --limit 0 shows all"])
    assert in_terminal("ls", str(tmp_path / "s"), "--limit", "0")[1].splitlines() == names
    lines = in_terminal("history", str(tmp_path / "s"))[1].splitlines()
    assert lines[0] == "… 11 earlier versions; --limit 0 shows all"
    assert [line.split()[0] for line in lines[2:]] == [str(version) for version in range(11, 61)]
    piped = subprocess.run([*COMMAND, "ls", tmp_path / "s"], capture_output=True, text=True, check=False)
    assert (piped.stdout.splitlines(), piped.stderr) == (names, "")


def test_the_installed_script(folder, tmp_path):
    script = Path(sys.executable).parent / "atlas"
    found = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("atlas ")
    piped = subprocess.run([script, "create", folder, tmp_path / "s"], capture_output=True, text=True, check=False)
    said = f"1 other file passed over: {folder}/readme.txt; --pattern '*' takes all files\n"
    assert (piped.returncode, piped.stderr) == (0, said)  # no bar without a terminal


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("args", [["ls"], ["--help"]])
def test_an_output_that_cannot_be_written_is_one_line(store, args):
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, *args, *([store] if args == ["ls"] else [])]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (1, "Error: standard output: No space left on device\n")


def test_a_broken_pipe_prints_no_error(store):
    reading, writing = os.pipe()
    os.close(reading)
    found = subprocess.run([*COMMAND, "ls", store], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert found.stderr == ""


@pytest.mark.skipif(compiler.INTERNALS is None, reason="kernels are not compiled as we do")
def test_a_terminal_is_told_what_is_compiled(tmp_path):
    with Atlas.create(tmp_path / "s") as target:
        target.create_dataset("a").define_array("t", "float64", ["x"], [100])
        target.open_dataset("a").write_array("t", [0], np.arange(100.0))
    seen = [in_terminal("verify", str(tmp_path / "s"), NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2)]
    assert [code for code, _ in seen] == [0, 0]
    assert [out.count("compiling kernels for this processor") for _, out in seen] == [1, 0]
