"""`atlas warmup`: later processes compile nothing, whatever they do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from atlas.kernels import compiler

needs_compiler = pytest.mark.skipif(not compiler.JIT, reason="kernels are plain Python here")
ROOT = Path(__file__).parents[2]
GOLDEN = """
    from pathlib import Path
    from atlas import Atlas, verify
    from atlas.storage import MemoryStorage
    from tests.golden.stores import GOLDEN
    from tests.test_golden import FOLDERS, STORES, build, expected
    for path in STORES:
        expected(GOLDEN[Path(path).name]).check_store(Atlas.open(FOLDERS / path))
        assert verify(FOLDERS / path).ok
    for golden in GOLDEN.values():
        storage = MemoryStorage()
        fleet = build(golden, storage)
        fleet.check_store(fleet.store)
        fleet.store.compact(keep_days=0)
        fleet.check_store(Atlas.open(storage))
"""
SUITE = """
    import pytest
    rooms = ["api", "read", "write", "maintenance", "verification", "xarray", "test_stateful.py"]
    assert pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", *(f"tests/{room}" for room in rooms)]) == 0
"""
COUNT = """
    from atlas.kernels import count_kernels
    print(count_kernels().compiled, count_kernels().loaded)
"""


def python(*arguments, code=0, **environment):
    """What Python printed to stdout and to stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout, done.stderr


def warm_up(folder, **environment):
    """Numbers of kernels compiled and loaded, and the folder named."""
    out, err = python("-m", "atlas", "warmup", NUMBA_CACHE_DIR=str(folder), **environment)
    assert err == ""
    found = re.fullmatch(r"compiled (\d+) kernels? and loaded (\d+) in \d+\.\d s; kept in (.+)\n", out)
    assert found, out
    return int(found[1]), int(found[2]), Path(found[3])


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder where the kernels are kept, and how many."""
    folder = tmp_path_factory.mktemp("kept")
    compiled, loaded, kept = warm_up(folder, ATLAS_CODECS="")
    assert loaded == 0
    assert kept.parent == folder
    return folder, compiled


@pytest.mark.slow
@needs_compiler
def test_a_second_time_all_are_loaded(warm):
    folder, kernels = warm
    assert warm_up(folder, ATLAS_CODECS="")[:2] == (0, kernels)
    kept = [path for path in folder.rglob("*.nbc") if "lambda" not in path.name]
    assert len(kept) == kernels > 10


@pytest.mark.slow
@needs_compiler
def test_the_golden_stores_need_no_other_kernels(warm):
    folder, kernels = warm
    out, _ = python("-c", textwrap.dedent(GOLDEN + COUNT), NUMBA_CACHE_DIR=str(folder), ATLAS_CODECS="")
    compiled, loaded = map(int, out.split())
    assert compiled == 0
    assert 10 < loaded <= kernels


@needs_compiler
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("codecs", ["", "python"])
def test_no_test_of_the_library_needs_other_kernels(tmp_path, codecs):
    kernels, _, _ = warm_up(tmp_path, ATLAS_CODECS=codecs)
    out, _ = python("-c", textwrap.dedent(SUITE + GOLDEN + COUNT), NUMBA_CACHE_DIR=str(tmp_path), ATLAS_CODECS=codecs)
    assert out.split("\n")[-2].split() == ["0", str(kernels)]


@pytest.mark.slow
@needs_compiler
def test_what_cannot_be_kept_is_one_line_and_a_failure(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    out, err = python("-m", "atlas", "warmup", code=1, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert out == ""
    assert re.fullmatch(r"atlas cannot keep its compiled kernels: no writable folder among .+\n", err)


def test_without_a_compiler_there_is_nothing_to_keep():
    out, err = python("-m", "atlas", "warmup", code=1, NUMBA_DISABLE_JIT="1")
    assert out == ""
    assert re.fullmatch(r"Error: NUMBA_DISABLE_JIT is set.+\n", err)
