"""Finding the C functions, and doing without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import atlas
from atlas.kernels import NATIVE_CODECS, symbols
from atlas.kernels.compiler import JIT


def run(code, **environment):
    values = {**os.environ, "PYTHONPATH": str(Path(atlas.__file__).parent.parent), **environment}
    return subprocess.run([sys.executable, "-c", code], env=values, capture_output=True, text=True, check=False)


REPORT = "import atlas.kernels as k; print(k.NATIVE_CODECS)"
WITHOUT = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'lz4' else f(n, *a)\n"


def test_python_by_wish():
    assert run(REPORT, ATLAS_CODECS="python").stdout.split() == ["False"]


def test_python_without_the_compiler():
    for wish in ("", "native"):
        assert run(REPORT, NUMBA_DISABLE_JIT="1", ATLAS_CODECS=wish).stdout.split() == ["False"]


def test_unknown_wish():
    done = run(REPORT, ATLAS_CODECS="fast")
    assert done.returncode != 0
    assert "ATLAS_CODECS must be 'native' or 'python', not 'fast'" in done.stderr


@pytest.mark.skipif(not JIT, reason="needs the compiler")
def test_missing_symbols_are_never_called():
    assert run(WITHOUT + REPORT, ATLAS_CODECS="").stdout.split() == ["False"]
    done = run(WITHOUT + REPORT, ATLAS_CODECS="native")
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "lz4" in done.stderr


@pytest.mark.skipif(not JIT, reason="needs the compiler")
def test_a_library_without_the_functions_is_not_bound():
    assert not symbols._bind("zstandard", "_cffi*", ("ZSTD_noSuchFunction",))
    assert not symbols._bind("no_such_package", "*", ("f",))


@pytest.mark.skipif(not NATIVE_CODECS, reason="needs the C functions")
def test_contexts_are_made_and_freed():
    address = symbols.call_symbol("ZSTD_createDCtx")
    assert address > 2**16
    assert symbols.call_symbol("ZSTD_freeDCtx", address) == 0
