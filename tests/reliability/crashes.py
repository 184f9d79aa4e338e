"""Crashes at every moment of every operation, and every state of the disk that each may leave.

A scenario is a script, and limits by which a few small arrays go the ways of large ones. How the states are enumerated,
and why none is left out, is said in `enumeration`; what a power cut may leave in `disks`.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count, product
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest

from atlas.errors import ConflictError, StorageError
from tests.clock import lend_clock
from tests.reliability.enumeration import AXIS, Figures, enumerate_crashes
from tests.reliability.sharing import SHARING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.reliability.scripts import Play, Script

SCENARIOS: dict[str, tuple[Play, dict[str, int]]] = {}
"""Scripts and their limits by name."""
QUICK = ("creating", "flushing", "overwriting", "compacting", "sharing")
"""What the usual tests run."""
AGAIN = ("creating", "flushing", "compacting", "replacing_in_another_encoding")
"""What is followed, after each crash, by crashes in what its owner does next."""

_MOST_CALLS = 200

_SPILLING = {"raw_bytes": 60, "checked_bytes": 0, "encoded_bytes": 60}
_JOINING = {"joined_at_once": 2}
_PAGES = {"page_rows": 3}
_ALIKE = {"few_commits": 1000, "joined_at_once": 1000}
_CHECKPOINTS = {"few_commits": 2}


def scenario(limits: dict[str, int] | None = None) -> Callable[[Play], Play]:
    """Add a script to the scenarios, under its name."""

    def add(play: Play) -> Play:
        SCENARIOS[play.__name__] = play, limits or {}
        return play

    return add


def run(full: bool, scenario: str | None = None) -> dict[str, int]:
    """Enumerate the crashes of all scenarios, side by side, of a few, or of the one named."""
    total = Figures()
    if scenario is not None and scenario not in SCENARIOS:
        raise SystemExit(f"no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")
    names = [scenario] if scenario is not None else list(SCENARIOS) if full else list(QUICK)
    if full:
        # The longest first: those that others follow, and those that were added last.
        jobs = [*((name, True) for name in AGAIN if name in names), *((name, False) for name in reversed(names))]
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
            for figures in processes.map(_enumerate, jobs):
                total.add(figures)
    else:
        for name in names:
            total.add(_enumerate((name, False)))
    return {
        "scenarios": len(names),
        "operations": total.operations,
        "crash points": total.points,
        "disk states": total.states,
        "distinct states opened": total.opened,
    }


def _enumerate(job: tuple[str, bool]) -> Figures:
    """Enumerate the crashes of a scenario, or those of what its owner does after each."""
    name, again = job
    then = going_on if again else None
    return enumerate_crashes(*SCENARIOS[name], after_crashes=then, after_kills=then)


def noise(seed: int, *shape: int) -> np.ndarray:
    """Floats that do not compress."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def texts(*cells: str | bytes | None) -> np.ndarray:
    return np.array(cells, object)


def going_on(s: Script) -> None:
    """What the owner of a store does after a crash."""
    if s.store is None:
        s.create()
    s.dataset("next", number=1)
    s.array("next", "t", noise(5, 4))
    s.flush()
    s.compact(keep_days=0)


def two_datasets(s: Script) -> None:
    """A store to begin with."""
    s.create()
    for name in ("a", "b"):
        s.dataset(name, station=f"of {name}")
        s.array(name, "t", noise(1, 6), fill=-1.0)
        s.array(name, "s", texts("one", None, ""))
        s.coordinate(name, "x", AXIS)
    s.flush()
    s.from_here()


@scenario()
def creating(s: Script) -> None:
    s.create()


@scenario()
def flushing(s: Script) -> None:
    s.create()
    s.from_here()
    s.dataset("a", number=1, text="ä")
    s.array("a", "t", noise(1, 4, 6), chunk=(2, 3), fill=-1.0)
    s.array("a", "s", texts("x", "yy", ""))
    s.dataset("b")
    s.array("b", "t", np.zeros(3, np.float32))
    s.array("b", "n", np.arange(7, dtype=np.int16))
    s.flush()


@scenario()
def replacing_datasets(s: Script) -> None:
    two_datasets(s)
    s.write("a", "t", noise(2, 3), start=[2])
    s.replace("a", t=noise(3, 8), u=np.arange(3))
    s.dataset("c", number=2)
    s.replace("c", t=noise(4, 2))
    s.flush()
    s.replace("a", t=noise(5, 5))
    s.flush()
    s.compact(keep_days=0)


@scenario()
def overwriting(s: Script) -> None:
    two_datasets(s)
    s.write("a", "t", noise(2, 3), start=[2])
    s.drop_array("b", "s")
    s.drop("b")
    s.dataset("c", number=2)
    s.attributes("a", station="moved")
    s.flush()


@scenario(_SPILLING)
def later_dtypes(s: Script) -> None:
    """Dtypes that are features of their documents, missing cells, and text too long for an index."""
    two_datasets(s)
    s.dataset("c", number=3)
    s.array("c", "s", texts(None, "x" * 200, "é"), chunk=(2,))
    s.array("c", "bytes", texts(b"\xff", None, b""), fill=b"-")
    s.array("c", "flags", np.array([True, False, True]), chunk=(2,))
    s.array("c", "when", np.array([0, -(2**63), 253_402_300_799]).view("M8[s]"))
    s.array("c", "half", np.array([np.nan, -0.0, 1.5], "f2"), fill=-0.0)
    s.flush()
    s.write("c", "s", texts("y", None), start=[1])
    s.write("c", "bytes", texts(None, b"z" * 150), start=[0])
    s.write("c", "flags", np.array([True]), start=[1])
    s.flush()
    s.compact(keep_versions=1, keep_days=0)


@scenario(_SPILLING)
def ragged(s: Script) -> None:
    """One array of several lengths, written as one to old and new datasets."""
    two_datasets(s)
    s.dataset("c", number=3)
    s.ragged("r", noise(4, 9, 2), {"c": 4, "a": 0, "b": 5}, [2, 2])
    s.flush()
    s.write("b", "r", noise(5, 1, 2), start=[3, 0])
    s.flush()
    s.compact(keep_versions=1, keep_days=0)


@scenario(_SPILLING)
def spilling(s: Script) -> None:
    """Chunks encoded while they are written, to a file that becomes the segment."""
    s.create()
    s.from_here()
    s.dataset("a")
    s.array("a", "t", noise(1, 8, 4), chunk=(2, 4))
    s.array("a", "n", noise(3, 8, 16).view(np.int64), chunk=(4, 8))
    s.flush()
    s.write("a", "t", noise(2, 4, 4))
    s.flush()


@scenario(_JOINING)
def joining(s: Script) -> None:
    """Small segments become one, whose old ones stay."""
    s.create()
    s.from_here()
    for name in ("a", "b", "c", "d"):
        s.dataset(name)
        s.array(name, "t", noise(len(name), 5))
        if name == "c":
            s.drop("a")
        s.flush()


@scenario(_CHECKPOINTS)
def checkpointing(s: Script) -> None:
    """The checkpoint is rewritten between commits."""
    s.create()
    s.from_here()
    for name in ("a", "b", "c", "d", "e"):
        s.dataset(name, number=len(name))
        s.flush()


@scenario(_PAGES | _CHECKPOINTS)
def paging(s: Script) -> None:
    """Rows go to pages, and pages are written anew."""
    s.create()
    s.from_here()
    for lot in range(3):
        for at in range(5):
            s.dataset(f"{lot}-{at}", lot=lot)
        s.flush()
    for at in range(4):
        s.attributes(f"0-{at}", lot=9)
        s.drop(f"1-{at}")
    s.flush()
    s.compact(keep_days=0)


@scenario()
def compacting(s: Script) -> None:
    two_datasets(s)
    s.drop("a")
    s.compact(keep_days=0)


@scenario(_JOINING | _CHECKPOINTS)
def compacting_again(s: Script) -> None:
    """Compaction of what flushes and an earlier compaction have left."""
    two_datasets(s)
    s.compact(keep_days=0)
    for name in ("c", "d"):
        s.dataset(name)
        s.array(name, "t", noise(3, 6))
        s.flush()
    s.drop_array("a", "t")
    s.flush()
    s.compact(keep_days=0)
    s.compact(keep_days=0)


@scenario()
def emptying(s: Script) -> None:
    """All datasets go, and the files after them."""
    two_datasets(s)
    s.drop("a")
    s.drop("b")
    s.flush()
    s.compact(keep_days=0)
    s.dataset("a")
    s.flush()


@scenario()
def replacing(s: Script) -> None:
    """A store in place of another."""
    two_datasets(s)
    s.create(overwrite=True)
    s.dataset("n", number=1)
    s.array("n", "t", noise(4, 2))
    s.flush()


@scenario()
def replacing_in_another_encoding(s: Script) -> None:
    """The documents of the new store have other names than those of the old."""
    two_datasets(s)
    s.create(overwrite=True, meta_format="msgpack", meta_compression="zstd", codec="lz4")
    s.dataset("n", number=1)
    s.flush()
    s.create(overwrite=True)
    s.dataset("m")
    s.flush()


@scenario(_JOINING)
def keeping(s: Script) -> None:
    """Compaction that keeps some versions, and one that keeps them all."""
    two_datasets(s)
    for name in ("c", "d", "e"):
        s.dataset(name)
        s.array(name, "t", noise(3, 6))
        s.drop_array(name, "t") if name == "d" else None
        s.flush()
    s.compact()
    s.drop("a")
    s.compact(keep_versions=3, keep_days=0)
    s.write("c", "t", noise(4, 2))
    s.flush()
    s.compact(keep_versions=2, keep_days=0)


@scenario(_JOINING | {"pack_commits": 3})
def gathering(s: Script) -> None:
    """Commits of the past go to packs, beside versions that are given up and a handle that was left behind."""
    two_datasets(s)
    other = s.open()
    for at in range(5):
        s.dataset(f"c{at}", number=at)
        if at == 2:
            s.array("c2", "t", noise(3, 6))
        s.flush()
    s.compact()
    s.compact()
    s.store, other = other, s.store
    s.dataset("behind", number=9)
    s.flush()
    s.compact(keep_versions=3, keep_days=0)
    s.dataset("last", number=10)
    s.flush()
    s.compact(keep_days=0)


@scenario(_JOINING | _PAGES | {"pack_commits": 3})
def thinning(s: Script) -> None:
    """Versions are thinned, and those that stay, then thinned again."""
    with lend_clock() as clock:
        clock.ago = dt.timedelta(days=20)
        two_datasets(s)
        for at in range(4):
            clock.ago -= dt.timedelta(hours=20)
            s.dataset(f"c{at}", number=at)
            s.array(f"c{at}", "t", noise(at, 3))
            s.flush()
        s.compact()
        clock.ago = dt.timedelta(days=9)
        s.drop("c0")
        s.flush()
        s.compact()
        clock.ago = dt.timedelta(0)
        s.compact()


@scenario(_PAGES)
def going_back(s: Script) -> None:
    """Rollbacks, to a version that a commit, a page or a base holds, and on from there."""
    two_datasets(s)
    first = s.store.version
    for at in range(5):
        s.dataset(f"p{at}", number=at)
    s.drop("a")
    s.flush()
    second = s.store.version
    s.write("b", "t", noise(4, 2))
    s.flush()
    s.rollback(first)
    s.write("a", "t", noise(5, 2))
    s.flush()
    s.compact(keep_versions=6, keep_days=0)
    s.rollback(second)
    s.compact(keep_days=0)
    s.dataset("a", number=7)
    s.flush()


@scenario(_JOINING | _CHECKPOINTS)
def rebasing(s: Script) -> None:
    """Two handles commit by turns, each on top of what the other has committed meanwhile."""
    two_datasets(s)
    other = s.open()
    for turn in range(3):
        for name in ("c", "d"):
            s.store, other = other, s.store
            s.dataset(f"{name}{turn}", number=turn)
            s.array(f"{name}{turn}", "t", noise(turn, 6))
            s.flush()


@scenario(_JOINING)
def rebasing_on_a_compaction(s: Script) -> None:
    """A handle commits what it had written before another has compacted, and compacts in its turn."""
    two_datasets(s)
    other = s.open()
    s.drop("a")
    s.compact(keep_days=0)
    s.store, other = other, s.store
    s.dataset("c", number=3)
    s.array("c", "t", noise(8, 6))
    s.flush()
    s.store, other = other, s.store
    s.compact(keep_days=0)


@scenario()
def losing(s: Script) -> None:
    """A flush that another writer has forestalled takes back what it wrote."""
    two_datasets(s)
    other = s.open()
    other.create_dataset("c").define_array("t", "int8", ["x"], [3])
    other.open_dataset("c").write_array("t", [0], np.ones(3, np.int8))
    s.dataset("c", number=1)
    s.flush()
    with s.step("a flush that loses"), pytest.raises(ConflictError):
        other.flush()


def failing(operation: str, function: str, *, done: bool) -> Play:
    """Operations in which one call of a function of `os` fails, the first, the second, …; then they are tried again.

    `done` has the call do its work before it fails.
    """

    def play(s: Script) -> None:
        two_datasets(s)
        for nth in count(1):
            s.write("a", "t", noise(nth, 2))
            s.attributes("a", number=nth)
            s.model.flush()
            call = s.store.flush if operation == "flush" else partial(s.store.compact, keep_days=0)
            with s.step(f"a {operation} in which os.{function} fails"), _failing(function, nth, done) as failed:
                try:
                    call()
                except StorageError:
                    call()
            if not failed:
                break
            assert nth < _MOST_CALLS, f"os.{function} is called ever more often"
        assert nth > 1, f"os.{function} is not called"

    return play


@contextmanager
def _failing(function: str, nth: int, done: bool) -> Iterator[list[int]]:
    """Have the `nth` call of a function fail; lends the calls that did."""
    original, calls = getattr(os, function), count(1)
    failed: list[int] = []

    def call(*arguments: Any, **options: Any) -> Any:
        number = next(calls)
        if number != nth:
            return original(*arguments, **options)
        failed.append(number)
        if done:
            original(*arguments, **options)
        raise OSError(errno.EIO, "Input/output error")

    with mock.patch(f"os.{function}", call):
        yield failed


for _operation, _function, _done in product(
    ("flush", "compact"), ("fsync", "link", "replace", "write", "unlink", "open"), (False, True)
):
    _name = f"{_operation}_with_{_function}_failing_{'late' if _done else 'early'}"
    SCENARIOS[_name] = failing(_operation, _function, done=_done), _ALIKE


@scenario(_JOINING | _CHECKPOINTS | _PAGES | _SPILLING)
def living(s: Script) -> None:
    """A store's life: all ways of writing, one after the other, by a handle and the next."""
    s.create()
    for lot in range(6):
        for at in range(4):
            name = f"{lot}-{at}"
            s.dataset(name, lot=lot)
            s.array(name, "t", noise(10 * lot + at, 4, 3), chunk=(2, 3))
            s.coordinate(name, "x", AXIS + at // 3)
            if at % 2:
                s.array(name, "s", texts(name, "", "x"))
        if lot > 1:
            s.drop(f"{lot - 2}-1")
            s.drop_array(f"{lot - 1}-3", "s")
            s.write(f"{lot - 1}-2", "t", noise(99, 2, 2), start=[1, 1])
        s.flush()
        if lot % 3 == 2:
            s.compact(keep_days=0)
            s.open()


SCENARIOS |= SHARING
