"""A test that hangs where Python cannot interrupt it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import ctypes

def test_hangs_with_the_gil():
    library = ctypes.PyDLL(None)  # calls its functions with the GIL held
    mutex = ctypes.create_string_buffer(256)
    assert library.pthread_mutex_init(mutex, None) == 0
    assert library.pthread_mutex_lock(mutex) == 0
    library.pthread_mutex_lock(mutex)

def test_ends():
    pass
"""


def run_tests(folder, *options):
    (folder / "test_hanging.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.limits", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200
    )


def test_a_test_that_hangs_in_c_fails_and_the_next_one_runs(tmp_path):
    done = run_tests(tmp_path, "-n", "1", "-o", "timeout=0.5")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "crashed while running 'test_hanging.py::test_hangs_with_the_gil'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "Timeout (0:00:01)!" in done.stderr
    assert "in test_hangs_with_the_gil" in done.stderr


def test_without_processes_the_run_itself_ends(tmp_path):
    done = run_tests(tmp_path, "-n", "0", "-o", "timeout=0.5")
    assert done.returncode == 1
    assert "in test_hangs_with_the_gil" in done.stderr
    assert "passed" not in done.stdout
