"""Processes that are killed (`kill -9`) while they write: what the store then holds is as before or as after.

A process changes a store at random and reports each commit before and after. It is killed at a random moment; the store
is opened and compared with the model as it was before the commit under way or as it is after, and once the commit was
reported as done with nothing but that. Then the next process goes on with the same store, so that damage would add up.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from atlas import Atlas, Limits
from tests.reliability.enumeration import memory_folder
from tests.reliability.lives import act
from tests.reliability.twins import Content, Twin, content, differences, modelled, unneeded
from tests.reliability.zygote import REPORT, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model import ModelDataset

_KILLS = 1000
_QUICK_KILLS = 25
_LONGEST = 0.06
"""Seconds that a process lives at most from its birth or first commit."""
_EARLY = 0.2
"""Share of the processes that are killed at a moment counted from their birth."""
_LIVES = 20
"""Processes that are killed before the next store is begun."""
_PATIENCE = 60
"""Seconds to wait for an answer before the campaign itself counts as broken."""


@dataclass(slots=True)
class Figures:
    """What was done."""

    kills: int = 0
    """Processes killed."""
    within: int = 0
    """Of these, within a commit."""
    landed: int = 0
    """Of those, with the commit in place."""
    commits: int = 0
    """Commits that were reported as done."""
    stores: int = 0
    """Stores begun."""


def run(full: bool, seed: int = 0, changes: dict[str, Any] | None = None) -> dict[str, int]:
    """Kill a thousand processes that are alone with their store, and half as many of which two write at once; or a few.

    `changes` are put in place of things of atlas, by dotted name, in the processes that are killed.
    """
    alone, beside = Figures(), Figures()
    rng = random.Random(seed)
    with _Zygote(2) as zygote:
        for figures, writers, kills in ((alone, 1, _KILLS), (beside, 2, _KILLS // 2)):
            while figures.kills < (kills if full else _QUICK_KILLS // writers):
                _live_on(zygote, rng, figures, writers, changes or {})
    return {
        "kills": alone.kills + beside.kills,
        "of those of two writers at once": beside.kills,
        "within a commit": alone.within + beside.within,
        "with that commit in place": alone.landed + beside.landed,
        "commits acknowledged": alone.commits + beside.commits,
        "stores": alone.stores + beside.stores,
    }


@dataclass(slots=True)
class _Own:
    """What a store holds of one writer."""

    datasets: dict[str, ModelDataset] = field(default_factory=dict)
    named: dict[str, dict[str, ModelDataset]] = field(default_factory=dict)


def _live_on(zygote: _Zygote, rng: random.Random, figures: Figures, writers: int, changes: dict[str, Any]) -> None:
    """Kill processes that change one store, one generation after the other."""
    with tempfile.TemporaryDirectory(prefix="kills-", dir=memory_folder()) as folder:
        place = Path(folder, "store")
        codec, form = rng.choice(["zstd", "lz4", "none"]), rng.choice(["json", "msgpack"])
        Atlas.create(place, codec=codec, meta_format=form, limits=Limits(pack_commits=rng.choice([2, 7, 256])))
        figures.stores += 1
        held = [_Own() for _ in range(writers)]
        for _ in range(_LIVES):
            tasks = [
                Task(str(place), rng.randrange(2**32), f"w{at}-", writers == 1, own.datasets, own.named, changes)
                for at, own in enumerate(held)
            ]
            for task in tasks:
                zygote.fork(task)
            lives = zygote.kill_after(rng.random() * _LONGEST, begun=rng.random() > _EARLY)
            figures.kills += writers
            found = content(Atlas.open(place))
            for at, (task, life) in enumerate(zip(tasks, lives, strict=True)):
                held[at] = _judge(task, life, found, figures)
        store = Atlas.open(place)
        before = content(store)
        store.compact(keep_days=0)
        assert content(Atlas.open(place)) == before
        left = unneeded(store, place)
        assert not left, f"compact() left {left}"


def _judge(task: Task, life: _Life, found: Content, figures: Figures) -> _Own:
    """Return what a store holds of a writer that was killed; raise where that is neither as before nor as after."""
    states = _replay(task, life.begun)
    before, after = states[life.done], states[life.begun]
    own = tuple(entry for entry in found[0] if entry[0].startswith(task.prefix))
    as_before, as_after = own == modelled(before.datasets)[0], own == modelled(after.datasets)[0]
    assert as_before or as_after, (
        f"after {life.done} commits of {life.begun} the process with seed {task.seed} has left other than before: "
        f"{differences(own, modelled(before.datasets)[0])}, and other than after: "
        f"{differences(own, modelled(after.datasets)[0])}"
    )
    figures.commits += life.done
    figures.within += life.begun > life.done
    figures.landed += as_after and not as_before
    if as_before and as_after:  # the commit under way may have given versions up
        return _Own(after.datasets, {name: after.named[name] for name in before.named if name in after.named})
    return after if as_after else before


class _Replay(Twin):
    """A life without a store."""

    def __init__(self, task: Task) -> None:
        super().__init__(None)
        self.become(task.datasets)
        self.named = dict(task.named)
        self.states = [_Own(self.model.flushed, dict(task.named))]
        """What the store holds, first and after each commit."""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        yield
        self.states.append(_Own(self.model.flushed, dict(self.named)))


def _replay(task: Task, commits: int) -> list[_Own]:
    """What a process had the store hold, first and after each of its first commits."""
    rng = random.Random(task.seed)
    rng.random()  # by which it chose its limits
    twin = _Replay(task)
    while len(twin.states) <= commits:
        act(rng, twin, task.prefix, alone=task.alone)
    return twin.states


@dataclass(slots=True)
class _Life:
    process: int
    begun: int = 0
    """Commits that it began."""
    done: int = 0
    """Commits that returned."""


class _Zygote:
    """The process that forks those that are killed, `writers` of which live at once, and the ways to and from them."""

    def __init__(self, writers: int) -> None:
        self._lives: list[_Life] = []
        here, there = Pipe()
        pipes = [os.pipe() for _ in range(writers)]
        self._connection, self._reports = here, [reader for reader, _ in pipes]
        given = [there.fileno(), *(writer for _, writer in pipes)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.zygote", *map(str, given)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            pass_fds=given,
        )
        there.close()
        for _, writer in pipes:
            os.close(writer)
        for reader in self._reports:
            os.set_blocking(reader, False)

    def __enter__(self) -> Self:
        try:
            assert self._answer() == "ready"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for life in self._lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(life.process, signal.SIGKILL)
        self._connection.close()
        try:
            self._process.wait(_PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            for reader in self._reports:
                os.close(reader)

    def _answer(self) -> object:
        assert self._connection.poll(_PATIENCE), "the process that forks others does not answer"
        return self._connection.recv()

    def fork(self, task: Task) -> None:
        """Begin a life."""
        self._connection.send(task)
        process = self._answer()
        assert isinstance(process, int)
        self._lives.append(_Life(process))

    def kill_after(self, seconds: float, *, begun: bool) -> list[_Life]:
        """End all lives after that time, counted from a first commit if `begun`, and return what they reported."""
        if begun:
            select.select(self._reports[: len(self._lives)], [], [], _PATIENCE)
        time.sleep(seconds)
        for life in self._lives:
            # None has been waited for, so its number is still its own.
            os.kill(life.process, signal.SIGKILL)
        self._connection.send(None)
        endings = self._answer()
        assert endings == [-signal.SIGKILL] * len(self._lives), f"a process ended by itself: {endings}"
        lives, self._lives = self._lives, []
        for life, reader in zip(lives, self._reports, strict=False):
            self._read(life, reader)
        return lives

    def _read(self, life: _Life, reader: int) -> None:
        reports = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(reader, 1 << 16):
                reports += data
        for kind, number in REPORT.iter_unpack(reports):
            if kind == b"b":
                assert number == life.begun == life.done
                life.begun += 1
            else:
                assert number == life.done
                life.done += 1
        assert life.begun - life.done in {0, 1}
