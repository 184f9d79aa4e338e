"""Processes that are killed (`kill -9`) while they write: what the store then holds is as before or as after.

A process changes a store at random and reports each commit before and after. It is killed at a random moment; the store
is opened and compared with the model as it was before the commit under way or as it is after, and once the commit was
reported as done with nothing but that. Then the next process goes on with the same store, so that damage would add up.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Self

from atlas import Atlas
from tests.model import Model, ModelDataset
from tests.reliability.enumeration import memory_folder
from tests.reliability.lives import act
from tests.reliability.twins import Content, Twin, content, modelled, unneeded
from tests.reliability.zygote import REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator

_KILLS = 1000
_QUICK_KILLS = 25
_LONGEST = 0.06
"""Seconds that a process lives at most."""
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


def run(full: bool, seed: int = 0) -> dict[str, int]:
    """Kill a thousand processes, or a few."""
    figures = Figures()
    rng = random.Random(seed)
    with _Zygote(1) as zygote:
        while figures.kills < (_KILLS if full else _QUICK_KILLS):
            _live_on(zygote, rng, figures, 1)
    return {
        "kills": figures.kills,
        "within a commit": figures.within,
        "of those with the commit in place": figures.landed,
        "commits acknowledged": figures.commits,
        "stores": figures.stores,
    }


def _live_on(zygote: _Zygote, rng: random.Random, figures: Figures, writers: int) -> None:
    """Kill processes that change one store, one generation after the other."""
    with tempfile.TemporaryDirectory(prefix="kills-", dir=memory_folder()) as folder:
        place = Path(folder, "store")
        Atlas.create(place, codec=rng.choice(["zstd", "lz4", "none"]), meta_format=rng.choice(["json", "msgpack"]))
        figures.stores += 1
        held: list[dict[str, ModelDataset]] = [{} for _ in range(writers)]
        for _ in range(_LIVES):
            seeds = [rng.randrange(2**32) for _ in held]
            prefixes = [f"w{writer}-" for writer in range(writers)]
            for seed, prefix, datasets in zip(seeds, prefixes, held, strict=True):
                zygote.fork(str(place), seed, prefix, datasets)
            lives = zygote.kill_after(rng.random() * _LONGEST)
            figures.kills += writers
            found = content(Atlas.open(place))
            for writer, life in enumerate(lives):
                states = _replay(seeds[writer], prefixes[writer], held[writer], life.begun)
                own = _own(found, prefixes[writer])
                after = own == modelled(states[life.begun])[0]
                assert after or own == modelled(states[life.done])[0], (
                    f"after {life.done} of {life.begun} commits of the process with seed {seeds[writer]} it holds {own}"
                )
                held[writer] = states[life.begun if after else life.done]
                figures.commits += life.done
                figures.within += life.begun > life.done
                figures.landed += life.begun > life.done and after
        store = Atlas.open(place)
        before = content(store)
        store.compact(keep_days=0)
        assert content(Atlas.open(place)) == before
        assert not unneeded(store, place)


def _own(found: Content, prefix: str) -> tuple[object, ...]:
    return tuple(entry for entry in found[0] if entry[0].startswith(prefix))


class _Replay(Twin):
    """A life without a store."""

    def __init__(self, model: Model) -> None:
        super().__init__(None, model)
        self.states = [model.flushed]
        """What the store holds, first and after each commit."""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        yield
        self.states.append(self.model.flushed)


def _replay(seed: int, prefix: str, datasets: dict[str, ModelDataset], commits: int) -> list[dict[str, ModelDataset]]:
    """What a process of that seed had the store hold, first and after each of its first commits."""
    rng = random.Random(seed)
    model = Model()
    model.datasets = datasets
    model.flush()
    rng.random()  # by which it chose its limits
    twin = _Replay(model)
    while len(twin.states) <= commits:
        act(rng, twin, prefix)
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

    def fork(self, place: str, seed: int, prefix: str, datasets: dict[str, ModelDataset]) -> None:
        """Begin a life."""
        self._connection.send((place, seed, prefix, datasets))
        process = self._answer()
        assert isinstance(process, int)
        self._lives.append(_Life(process))

    def kill_after(self, seconds: float) -> list[_Life]:
        """End all lives after that time, and return what they reported."""
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
