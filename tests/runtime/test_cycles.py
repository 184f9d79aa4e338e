"""How often Python looks for reference cycles."""

from __future__ import annotations

import gc

import pytest

from atlas import Atlas
from atlas.runtime.cycles import collecting_rarely
from atlas.storage import MemoryStorage


@pytest.fixture(autouse=True)
def threshold():
    """The numbers of new objects before and after a test."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_rare_until_the_last_user_leaves():
    with collecting_rarely():
        with collecting_rarely():
            assert gc.get_threshold() == (100_000, 10, 10)
        assert gc.get_threshold() == (100_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_an_error_ends_it_too():
    with pytest.raises(ValueError, match="odd"), collecting_rarely():
        raise ValueError("odd")
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("first", [0, 1_000_000])
def test_what_is_off_or_rarer_stays_so(first):
    gc.set_threshold(first, 10, 10)
    with collecting_rarely():
        assert gc.get_threshold() == (first, 10, 10)
    assert gc.get_threshold() == (first, 10, 10)


def test_what_the_user_sets_meanwhile_stays():
    with collecting_rarely():
        gc.set_threshold(5000, 10, 10)
    assert gc.get_threshold() == (5000, 10, 10)


def test_adding_many_sets_it_back(tmp_path):
    seen = []
    with pytest.raises(ValueError, match="neither a folder"):
        Atlas.create(MemoryStorage()).add_many(tmp_path / "none")
    (tmp_path / "a.nc").write_text("no NetCDF")
    store = Atlas.create(MemoryStorage())
    store.add_many(tmp_path, on_error="skip", progress=lambda report: seen.append(gc.get_threshold()[0]))
    assert (seen, gc.get_threshold()) == ([100_000], (700, 10, 10))
