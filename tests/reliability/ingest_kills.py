"""Processes that add files (`add_many`, `atlas add`) and are killed at random moments, or those that read for them.

After each the store holds what its last commit had, or the one under way; the next one goes on with the same files. In
the end it is as after a run that nobody disturbed: the same datasets with identical cells, attributes and encodings, no
damage, each file once in the report, and the bad ones failed for the same reasons.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from atlas import Atlas
from tests.reliability.enumeration import memory_folder
from tests.reliability.ingest_files import make_files
from tests.reliability.ingest_lives import Task, begin, serve
from tests.reliability.twins import unneeded

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Figures", "run"]

_KILLS = 1000
_QUICK_KILLS = 10
_LIVES = 12
"""Processes that are killed before one store is completed undisturbed."""
_FILES = 40
_QUICK_FILES = 15
"""Good files in a folder."""
_EVERY = ["1 file", "2 files", "3 files", "5 files", "0.03 s", "8 KiB", "5 min"]
_PATIENCE = 60
"""Seconds to wait for a process to say or do something before the campaign itself counts as broken."""
_KILLED = "the process that read it ended: SIGKILL; it may have run out of memory"
"""What the report says of a file whose reader was killed."""


@dataclass(slots=True)
class Figures:
    """What was done. Kills that came after the end count as none."""

    killed: int = 0
    """Processes that added, killed at once, some with those that read for them."""
    stopped: int = 0
    """Processes that added, ended by SIGTERM or SIGINT."""
    readers: int = 0
    """Processes that read, killed alone."""
    within: int = 0
    """Processes that were killed within a commit."""
    landed: int = 0
    """Of those, with the commit in place."""
    commits: int = 0
    """Commits that were acknowledged."""
    datasets: int = 0
    """Datasets compared."""
    stores: int = 0
    """Stores completed."""

    @property
    def kills(self) -> int:
        return self.killed + self.stopped + self.readers


def run(full: bool, seed: int = 0, kills: int | None = None, changes: dict[str, Any] | None = None) -> dict[str, int]:
    """Kill a thousand times, or `kills` times, or a few.

    `changes` are put in place of things of atlas, by dotted name, in the processes that are killed.
    """
    figures, chance = Figures(), random.Random(seed)
    wanted, files = kills or (_KILLS if full else _QUICK_KILLS), _FILES if full else _QUICK_FILES
    serve()
    while figures.kills < wanted:
        with tempfile.TemporaryDirectory(prefix="ingest-kills-", dir=memory_folder()) as folder:
            _Store(Path(folder), files, chance, figures, changes or {}).complete(wanted)
    return {
        "kills": figures.kills,
        "of them of processes that read": figures.readers,
        "SIGTERM or Ctrl-C": figures.stopped,
        "within a commit": figures.within,
        "with that commit in place": figures.landed,
        "commits acknowledged": figures.commits,
        "datasets compared": figures.datasets,
        "stores": figures.stores,
    }


@dataclass(slots=True)
class _Life:
    """What a process that adds has said."""

    process: Any
    said: Connection
    readers: list[int] = field(default_factory=list)
    """Processes that read for it, in the order that they began."""
    commits: int = 0
    """Commits that it began."""
    done: int = 0
    """Commits that returned."""
    held: list[str] | None = None
    """What the store holds since the last of them."""
    under_way: list[list[str]] = field(default_factory=list)
    """What it may hold instead: commits that began since."""
    readers_killed: int = 0
    """Processes that read for it and were killed while it went on."""

    def listen(self, until: float) -> bool:
        """Take in the next thing said, and return whether there was one by then. Raises `EOFError` after the last."""
        if not self.said.poll(max(0.0, until - time.monotonic())):
            return False
        try:
            kind, *what = self.said.recv()
        except OSError as error:  # it was killed while it said so
            raise EOFError from error
        if kind == "reader":
            self.readers += what
        elif kind == "flush":
            self.commits += 1
            self.under_way += what
        elif kind == "flushed":
            self.done += 1
            self.held = self.under_way[-1]
            self.under_way.clear()
        return True

    def await_end(self) -> int:
        """Listen until it has ended, and those that read for it, and return its exit code."""
        with suppress(EOFError):
            while self.listen(time.monotonic() + _PATIENCE):
                pass
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        assert isinstance(code, int), "a process that was ended, or has added all, goes on"
        until = time.monotonic() + _PATIENCE
        for reader in self.readers:
            while _lives(reader):
                assert time.monotonic() < until, "a process that reads has outlived the one that it read for"
                time.sleep(0.001)
        return code


def _lives(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


class _Store:
    """A store that is filled again and again by processes that are killed, and one that nobody disturbs."""

    def __init__(
        self, folder: Path, files: int, chance: random.Random, figures: Figures, changes: dict[str, Any]
    ) -> None:
        self._folder, self._chance, self._figures, self._changes = folder, chance, figures, changes
        self._sources = folder / "sources"
        self._sources.mkdir()
        self._bad = make_files(
            self._sources, chance.getrandbits(32), files, large=files == _FILES and chance.random() < 0.2
        )
        self._options = {"flush_every": chance.choice(_EVERY), "workers": chance.choice([1, 2])}
        self._names: list[str] = []
        """Datasets of the store that is killed, after the last life."""
        self._is_complete = False
        began = time.monotonic()
        life, code = self._live("undisturbed", {}, by_command=False, plan=None)
        self._seconds = time.monotonic() - began
        """What all takes without a kill."""
        assert code == 0, self._log()
        self._wanted = self._report()
        assert {one["source"] for one in self._failed(self._wanted)} == self._bad
        self._order = [one["dataset"] for one in self._wanted if one["status"] == "stored"]
        self._reasons = {one["source"]: one["reason"] for one in self._wanted}
        assert Atlas.open(folder / "undisturbed").list_datasets() == self._order
        assert life.held == self._order

    def complete(self, kills: int) -> None:
        """Kill processes that fill the store, let the last one end, and compare."""
        for _ in range(_LIVES):
            if self._is_complete or self._figures.kills >= kills:
                break
            self._disturb()
        while not self._is_complete:  # once, or again for the file whose reader was killed
            self._judge(*self._live("killed", self._changes, self._chance.random() < 0.3, None), None)
        self._compare()
        self._figures.stores += 1

    def _disturb(self) -> None:
        """Begin a process that adds, kill it or one that reads for it, and judge what it leaves."""
        sent = self._chance.choices(
            [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None], cum_weights=[0.7, 0.82, 0.88, 1.0]
        )[0]
        by_command = sent == signal.SIGTERM or (sent is not None and self._chance.random() < 0.2)
        self._judge(*self._live("killed", self._changes, by_command, _Plan(sent, self._chance, self._seconds)), sent)

    def _live(self, name: str, changes: dict[str, Any], by_command: bool, plan: _Plan | None) -> tuple[_Life, int]:
        """Have a process add the files to a store, and disturb it as planned; return what it said and its exit code."""
        place = self._folder / name
        if not place.exists():
            Atlas.create(place)
        (self._folder / "log").write_text("")
        (self._folder / "report").unlink(missing_ok=True)
        here, there = Pipe(duplex=False)
        files = {what: str(self._folder / what) for what in ("sources", "report", "log", "readers_log")}
        task = Task(store=str(place), options=self._options, by_command=by_command, changes=changes, **files)
        with here:
            with there:
                life = _Life(begin(task, there), here)
            try:
                if plan is not None:
                    plan.carry_out(life, self._figures)
                return life, life.await_end()
            finally:
                life.process.kill()

    def _judge(self, life: _Life, code: int, sent: signal.Signals | None) -> None:
        """Raise where what a process left, or its report, is other than it said."""
        figures, before = self._figures, self._names
        self._names = Atlas.open(self._folder / "killed").list_datasets()
        held = before if life.held is None else life.held
        states = [held, *life.under_way]
        assert self._names in states, f"after {life.done} commits the store has {self._names}, none of {states}"
        figures.commits += life.done
        if life.under_way and code == -signal.SIGKILL:
            figures.within += 1
            figures.landed += self._names != held
        assert self._names[: len(before)] == before
        added = [self._order.index(name) for name in self._names[len(before) :]]
        assert added == sorted(added), f"{self._names} were not added in the order of their files"
        passed = set(self._order[: added[-1] if added else 0]) - set(self._names)
        assert len(passed) <= life.readers_killed, f"{passed} were passed over"
        # Python itself raises Ctrl-C wherever it is, and can say no more where that is ignored.
        assert sent == signal.SIGINT or "Traceback" not in self._log(), f"after {sent!r}: {self._log()}"
        if code == -signal.SIGKILL:
            assert sent == signal.SIGKILL
            figures.killed += 1
            return
        is_stopped = sent in {signal.SIGTERM, signal.SIGINT}
        if code in {-signal.SIGTERM, 143, 130}:
            assert is_stopped
            figures.stopped += 1
        else:
            assert code in {0, 1}, f"exit code {code}: {self._log()}"
        if (self._folder / "report").exists():
            self._judge_report(life, is_whole=code in {0, 1})
        else:  # it came before anything was added, or after all and its report
            is_expected = is_stopped and (not life.commits or code == -signal.SIGTERM)
            assert is_expected, f"after {sent!r} exit code {code} and no report: {self._log()}"

    def _judge_report(self, life: _Life, *, is_whole: bool) -> None:
        """Raise where the report of a process that has ended is not true, or no part of that of an undisturbed one."""
        found = self._report()
        sources = [one["source"] for one in found]
        assert sources == [one["source"] for one in self._wanted][: None if is_whole else len(found)]
        odd = 0
        for one in found:
            if one["status"] != "failed":
                assert one["source"] not in self._bad
                assert one["status"] in {"stored", "present"}
                assert one["dataset"] in self._names, f"{one} is not in the store"
            elif one["source"] not in self._bad or one["reason"] != self._reasons[one["source"]]:
                assert one["reason"] == _KILLED, one
                odd += 1
        assert odd <= life.readers_killed, found
        self._is_complete = is_whole and not odd

    def _compare(self) -> None:
        """Raise where the store is other than the one that nobody disturbed."""
        stores = [Atlas.open(self._folder / name) for name in ("killed", "undisturbed")]
        killed = stores[0]
        assert killed.list_datasets() == self._names
        assert sorted(self._names) == sorted(self._order)
        for name in self._order:
            found, expected = (store.to_xarray(name).load() for store in stores)
            xr.testing.assert_identical(found, expected)
            assert _encodings(found) == _encodings(expected)
            views = [store.open_dataset(name) for store in stores]
            arrays, others = ([(one, repr(view.array_meta(one))) for one in view.list_arrays()] for view in views)
            assert arrays == others
        self._figures.datasets += len(self._order)
        for store in stores:
            assert store.verify().ok
        killed.compact(keep_days=0)
        assert killed.list_datasets() == self._names
        left = unneeded(killed, self._folder / "killed")
        assert not left, f"compact() left {left}"

    def _report(self) -> list[dict[str, Any]]:
        results = json.loads((self._folder / "report").read_text())["results"]
        assert isinstance(results, list)
        return results

    def _failed(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in results if one["status"] == "failed"]

    def _log(self) -> str:
        return (self._folder / "log").read_text()


class _Plan:
    """When a process is disturbed, and how."""

    def __init__(self, sent: signal.Signals | None, chance: random.Random, seconds: float) -> None:
        self._sent = sent
        """What the process that adds gets, if anything."""
        self._chance = chance
        self._of_commit = chance.randint(1, 4) if chance.random() < 0.4 else None
        """Commit from whose beginning the moment is counted; else from that of the process."""
        self._after = chance.random() * (0.01 if self._of_commit else 0.25 * seconds)
        self._of_readers = [chance.random() * 0.25 * seconds for _ in range(sent is None or chance.random() < 0.15)]
        """When processes that read are killed, which is known to it alone."""
        self._is_whole = chance.random() < 0.2
        """Whether those that read are killed with it."""

    def carry_out(self, life: _Life, figures: Figures) -> None:
        """Listen to a process that begins until it ends or is killed."""
        life.listen(time.monotonic() + _PATIENCE)
        begun = time.monotonic()
        end = begun + (_PATIENCE if self._sent is None or self._of_commit else self._after)
        readers = [begun + after for after in self._of_readers]
        is_set = not self._of_commit
        with suppress(EOFError):
            while True:
                heard = life.listen(min([end, *readers]))
                if not is_set and life.commits == self._of_commit and self._sent is not None:
                    end, is_set = time.monotonic() + self._after, True
                if heard:
                    continue
                if readers and readers[0] <= end:
                    readers.pop()
                    figures.readers += self._kill_reader(life)
                else:
                    break
            assert self._sent is not None, "a process says nothing for a minute"
            if self._is_whole and self._sent == signal.SIGKILL:
                self._kill_reader(life)
            with suppress(ProcessLookupError):
                os.kill(life.process.pid, self._sent)

    def _kill_reader(self, life: _Life) -> bool:
        """Kill one of those that read, and return whether there was one."""
        alive = [reader for reader in life.readers if _lives(reader)]
        if not alive:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(alive), signal.SIGKILL)
            life.readers_killed += 1
            return True
        return False


def _encodings(ds: xr.Dataset) -> dict[Any, str]:
    """The encodings of a dataset, as text: a NaN equals none."""
    return {name: repr(sorted(owner.encoding.items())) for name, owner in ((None, ds), *ds.variables.items())}
