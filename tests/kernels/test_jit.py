"""The compilation policy: two decorators, a cache that follows every source, and doing without Numba's insides."""

import inspect
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest

import atlas
from atlas.kernels import compiler, jit
from atlas.kernels.shuffle import unshuffle_range

needs_compiler = pytest.mark.skipif(not compiler.JIT, reason="kernels are plain Python here")
ROOT = Path(atlas.__file__).parent.parent


def run(code, **environment):
    """Run a script in a fresh interpreter where a warning is an error; its output."""
    values = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=values,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_kernels_keep_their_python_signature():
    assert list(inspect.signature(unshuffle_range).parameters)[:2] == ["data", "at"]


def test_stamp_covers_every_source(monkeypatch, tmp_path):
    make = jit.source_stamp.__wrapped__
    stamp = make()
    copy = tmp_path / "kernels"
    shutil.copytree(jit.HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "HERE", copy)
    assert make() == stamp
    for source in sorted(copy.glob("*.py")):
        text = source.read_text()
        source.write_text(text + "\n")
        assert make() != stamp
        source.write_text(text)
    monkeypatch.setattr(jit, "NATIVE_CODECS", not jit.NATIVE_CODECS)
    assert make() != stamp
    monkeypatch.undo()
    monkeypatch.setattr(jit, "version", lambda name: "another")
    assert make() != stamp


@needs_compiler
def test_only_our_functions_use_our_cache(tmp_path):
    (tmp_path / "theirs.py").write_text("import numba\n\n@numba.njit(cache=True)\ndef one(x):\n    return x + 1\n")
    out = run(
        """
        import sys
        sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else ".")
        from atlas.kernels.shuffle import plane_length
        import theirs
        theirs.one(1)
        print(type(plane_length.compiled._cache).__name__, type(theirs.one._cache).__name__)
        """.replace('sys.argv[1] if len(sys.argv) > 1 else "."', repr(str(tmp_path))),
        NUMBA_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert out.split() == ["_KernelCache", "FunctionCache"]


@needs_compiler
def test_compiled_code_is_kept_and_used_again(tmp_path):
    code = """
        from atlas.kernels.shuffle import plane_length
        plane_length(9, 2, 1)
        stats = plane_length.compiled.stats
        print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
    """
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0", "1"]
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["1", "0"]


@needs_compiler
def test_kernels_hold_no_gil_and_start_no_threads():
    compiled = jit.kernel(lambda x: x).compiled
    options = compiled.targetoptions
    assert options["nogil"]
    assert not options.get("parallel")
    assert isinstance(compiled, numba.core.dispatcher.Dispatcher)


@needs_compiler
def test_loading_compiled_code_loads_no_compiler(tmp_path):
    code = """
        import sys
        import numpy as np
        from atlas.kernels import Index, find_chunks
        column = np.arange(3)
        wants = column, column[1:], column[1:], column[:2], column[:2]
        print(find_chunks(Index(*[column] * 6), *wants).pieces.T.tolist())
        print("numba.np.npyimpl" in sys.modules)
    """
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).split("\n")[1] == "True"
    found = run(code, NUMBA_CACHE_DIR=str(tmp_path)).split("\n")
    assert found[1] == "False"
    assert found[0] == "[[2, 1, 0, 1, 1, 0]]"


@needs_compiler
def test_compiled_code_calls_nothing_of_numba(tmp_path):
    code = """
        import numpy as np
        from atlas.kernels import chunk_statistics, decode_block, encode_blocks
        raw = np.arange(4000, dtype=np.uint8)
        rows = np.zeros(1, np.int64), np.array([4000])
        for kind in (0, 1, 2):
            stored, table = encode_blocks(raw, *rows, codec=1, filter=kind, itemsize=4, level=1)
            assert (decode_block(stored, table, 0) == raw).all()
        chunk_statistics(raw, *rows)
    """
    run(code, NUMBA_CACHE_DIR=str(tmp_path))
    kept = [path.read_bytes() for path in tmp_path.rglob("*.nbc")]
    assert len(kept) >= 5
    assert not any(b"NRT_" in code for code in kept)
    run(code, NUMBA_CACHE_DIR=str(tmp_path))


@needs_compiler
def test_kernels_allocate_nothing():
    make = jit.kernel(lambda size: np.empty(size).size)
    with pytest.raises(numba.core.errors.NumbaError):
        make(3)


@needs_compiler
def test_inner_kernels_are_called_by_kernels_only():
    double = jit.inner(lambda x: 2 * x)
    assert jit.kernel(lambda x: double(x) + 1)(3) == 7
    with pytest.raises(TypeError, match="called by kernels only"):
        double(3)


@needs_compiler
def test_ways_of_the_codecs_share_no_compiled_code(tmp_path):
    code = """
        import numpy as np
        import atlas
        with atlas.Atlas.create("{place}", overwrite=True) as store:
            store.create_datasets(["a", "b"])
            store.write_array_across_stacked("t", ["a", "b"], np.arange(2000, dtype=np.float32).reshape(2, 1000))
        print(atlas.Atlas.open("{place}").read_array_across_stacked("t", ["b", "a"], [3], [2]).tolist())
    """.replace("{place}", str(tmp_path / "store"))
    outputs = [
        run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache"), ATLAS_CODECS=codecs) for codecs in ("python", "", "python")
    ]
    assert outputs == ["[[1003.0, 1004.0], [3.0, 4.0]]\n"] * 3


BLOCKS = """
    import numpy as np
    import atlas
    from atlas.kernels import NATIVE_CODECS, compiler, decode_blocks, encode_blocks
    from tests import reference
    from tests.kernels.test_gather import Fleet
    print(compiler.INTERNALS is None, NATIVE_CODECS)
    raw = (np.arange(3000) // 7).astype("f4").view(np.uint8)
    start, length = np.array([0, 5000]), np.array([5000, 7000])
    for codec in (1, 2):
        for kind in (0, 1, 2):
            stored, table = encode_blocks(raw, start, length, codec=codec, filter=kind, itemsize=4, level=1)
            parts = raw[:5000].tobytes(), raw[5000:].tobytes()
            again, known = reference.store([(part, codec, kind, 4) for part in parts])
            for source, rows in ((stored, table), (again, known)):
                out = np.zeros(raw.size, np.uint8)
                decode_blocks(source, rows, out, start)
                assert (out == raw).all()
            Fleet([13, 17], [8, 8], 2, "f4", 64, codec, kind).check([5, 3], [6, 9], [1, 0])
    path = {path!r}
    with atlas.Atlas.create(path, overwrite=True) as store:
        store.create_datasets(["a", "b"])
        store.write_array_across_stacked("t", ["a", "b"], np.arange(2000, dtype=np.float32).reshape(2, 1000))
    print(atlas.Atlas.open(path).read_array_across_stacked("t", ["b", "a"], [3], [2]).tolist())
"""
OTHERS = {
    "a class is gone": "import numba.core.codegen as c; del c.JITCodeLibrary",
    "a function is gone": "import llvmlite.binding as b; del b.address_of_symbol",
    "a later version works otherwise": (
        "import numba, llvmlite.binding as b; numba.__version__ = '9.0.0'; b.address_of_symbol = lambda name: None"
    ),
    "a later version loads nothing": (
        "import numba, numba.core.compiler as c; numba.__version__ = '9.0.0'; c.CompileResult._rebuild = None"
    ),
}


@needs_compiler
@pytest.mark.parametrize("other", OTHERS)
def test_another_numba_costs_speed_and_no_results(tmp_path, other):
    code = OTHERS[other] + "\n" + textwrap.dedent(BLOCKS.replace("{path!r}", repr(str(tmp_path / "store"))))
    found = run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache"), ATLAS_CODECS="").splitlines()
    assert found[:2] == ["True False", "[[1003.0, 1004.0], [3.0, 4.0]]"]
    assert len([line for line in found if line.startswith("atlas does not know the insides of Numba")]) == 1
    assert list((tmp_path / "cache").rglob("*.nbc"))


@needs_compiler
def test_a_later_numba_that_works_alike_is_used_as_it_is(tmp_path):
    code = "import numba; numba.__version__ = '9.0.0'\n" + textwrap.dedent(
        BLOCKS.replace("{path!r}", repr(str(tmp_path / "store")))
    )
    found = run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache"), ATLAS_CODECS="").splitlines()
    assert found[0].startswith("False")
    assert "does not know" not in "".join(found)
    code = "import numba; numba.__version__ = '9.0.0'; import atlas.kernels.compiler"
    probes = set((tmp_path / "cache").rglob("*check.locals.function*"))
    assert probes
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == ""
    assert set((tmp_path / "cache").rglob("*check.locals.function*")) == probes
