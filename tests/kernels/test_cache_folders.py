"""Where compiled kernels are kept and found again, on machines where little may be read or written."""

import errno
import functools
import logging
import os
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from atlas.kernels import cache_folders, compiler, jit
from tests.kernels.test_jit import OTHERS, needs_compiler, run

needs_our_cache = pytest.mark.skipif(compiler.INTERNALS is None, reason="nothing of ours keeps code here")


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """Look for folders anew, as a process does that begins."""
    for name in ("cache_folders", "_is_writable"):
        monkeypatch.setattr(cache_folders, name, functools.cache(getattr(cache_folders, name).__wrapped__))
    monkeypatch.setattr(cache_folders, "_unkept", [])
    monkeypatch.setattr(cache_folders._settings, "CACHE_DIR", "")


@pytest.fixture
def folders(monkeypatch, tmp_path):
    """The package's folder and the user's, both empty; tests say which of them is writable."""
    both = tmp_path / "package" / "__pycache__", tmp_path / "user"
    for folder in both:
        folder.mkdir(parents=True)
    monkeypatch.setattr(cache_folders, "cache_folders", lambda: both)
    return both


def allow(monkeypatch, *writable):
    monkeypatch.setattr(cache_folders, "_is_writable", lambda folder: folder in writable)


def triple():
    return jit.kernel(lambda number: 3 * number)


def used(kernel):
    """Call it; how often code was loaded, how often compiled, and where it lies."""
    assert kernel(7) == 21
    stats = kernel.compiled.stats
    return stats.cache_hits.total(), stats.cache_misses.total(), stats.cache_path


def test_the_package_comes_before_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package, user = cache_folders.cache_folders()
    assert package == Path(jit.__file__).parent / "__pycache__"
    assert user.parent == tmp_path / "numba"


def test_a_folder_named_in_the_environment_is_the_only_one(monkeypatch, tmp_path):
    monkeypatch.setattr(cache_folders._settings, "CACHE_DIR", str(tmp_path))
    (folder,) = cache_folders.cache_folders()
    assert folder.parent == tmp_path


def test_a_user_without_a_home_has_no_folder(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert [folder.name for folder in cache_folders.cache_folders()] == ["__pycache__"]


@pytest.mark.parametrize("cache_home", ["relative", "~/unexpanded"])
def test_a_cache_folder_is_not_made_in_the_working_folder(monkeypatch, cache_home):
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    assert len(cache_folders.cache_folders()) == 1


def test_the_first_writable_folder_is_saved_to(monkeypatch, tmp_path):
    monkeypatch.setattr(cache_folders, "HERE", tmp_path / "file")
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folders.writable_folder() == cache_folders.cache_folders()[1]
    assert cache_folders.writable_folder().is_relative_to(tmp_path / "user")


@needs_our_cache
def test_code_is_loaded_from_a_folder_that_cannot_be_written(monkeypatch, folders, caplog):
    allow(monkeypatch, folders[0])
    assert used(triple()) == (0, 1, folders[0])
    allow(monkeypatch, folders[1])
    assert used(triple()) == (1, 0, folders[0])
    allow(monkeypatch)
    assert used(triple()) == (1, 0, folders[0])
    assert caplog.records == []


@needs_our_cache
def test_code_that_the_first_folder_lacks_is_kept_in_the_next(monkeypatch, folders):
    allow(monkeypatch, folders[1])
    assert used(triple()) == (0, 1, folders[1])
    assert used(triple()) == (1, 0, folders[1])
    allow(monkeypatch)
    assert used(triple()) == (1, 0, folders[1])


@needs_our_cache
def test_nothing_is_loaded_behind_the_first_writable_folder(monkeypatch, folders):
    allow(monkeypatch, folders[1])
    used(triple())
    allow(monkeypatch, *folders)
    assert used(triple()) == (0, 1, folders[0])


@needs_our_cache
def test_code_of_another_stamp_is_not_loaded(monkeypatch, folders):
    allow(monkeypatch, folders[0])
    used(triple())
    monkeypatch.setattr(jit, "source_stamp", lambda: "another")
    allow(monkeypatch, folders[1])
    assert used(triple()) == (0, 1, folders[1])
    assert used(triple()) == (1, 0, folders[1])


@needs_our_cache
def test_code_that_cannot_be_kept_is_said_once(monkeypatch, folders, caplog):
    allow(monkeypatch)
    assert used(triple()) == (0, 1, None)
    assert used(triple()) == (0, 1, None)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for word in (*map(str, folders), "NUMBA_CACHE_DIR", "atlas warmup"):
        assert word in record.getMessage()
    assert not jit.count_kernels().all_kept


@needs_our_cache
@pytest.mark.parametrize("step", ["_save_data", "_save_index"])
def test_a_full_disk_costs_no_result(monkeypatch, folders, caplog, step):
    def fail(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    allow(monkeypatch, folders[0])
    with monkeypatch.context() as patch:
        patch.setattr(IndexDataCacheFile, step, fail)
        assert used(triple()) == (0, 1, None)
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert str(folders[0]) in record.getMessage()
    assert used(triple()) == (0, 1, folders[0])
    assert used(triple()) == (1, 0, folders[0])


@needs_our_cache
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("left", [0, 10, -1])
def test_damaged_files_are_made_anew(monkeypatch, folders, suffix, left):
    allow(monkeypatch, folders[0])
    used(triple())
    (path,) = folders[0].glob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:left])
    assert used(triple()) == (0, 1, folders[0])
    assert used(triple()) == (1, 0, folders[0])


@needs_our_cache
def test_files_that_may_not_be_read_are_passed_by(monkeypatch, folders):
    allow(monkeypatch, folders[0])
    used(triple())
    (index,) = folders[0].glob("*.nbi")
    index.unlink()
    index.mkdir()  # which not even root reads as a file
    allow(monkeypatch, folders[1])
    assert used(triple()) == (0, 1, folders[1])


@pytest.mark.slow
@needs_our_cache
def test_code_for_another_processor_is_kept_beside(tmp_path):
    code = """
        from atlas.kernels.jit import count_kernels
        from atlas.kernels.shuffle import plane_length
        assert plane_length(9, 2, 1) == 8
        print(count_kernels().compiled)
    """
    processors = "", "generic", "", "generic"
    found = [run(code, NUMBA_CACHE_DIR=str(tmp_path), **({"NUMBA_CPU_NAME": cpu} if cpu else {})) for cpu in processors]
    assert found == ["1\n", "1\n", "0\n", "0\n"]


@needs_compiler
@pytest.mark.parametrize("first", ["", OTHERS["a class is gone"]])
def test_a_machine_without_a_writable_folder_says_so_and_works(tmp_path, first):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    code = """
import numpy as np
from atlas.kernels import chunk_statistics
for kind in ("i4", "i8"):
    print(chunk_statistics(np.arange(5, dtype=kind), [0], [5]).maximum)
"""
    found = run(first + code, NUMBA_CACHE_DIR=str(blocked / "cache"), ATLAS_CODECS="")
    assert found.count("[4]") == 2
    assert len([line for line in found.splitlines() if "atlas cannot keep its compiled kernels" in line]) == 1
    assert len(found.splitlines()) == (4 if first else 3)
