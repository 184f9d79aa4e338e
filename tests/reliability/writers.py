"""Many writers and readers on one store: the sum of all flushes that landed is what it holds, and what anybody saw.

Threads and processes, forked and spawned, on a folder, in memory and on an object store. Each writer logs the changes
of every flush that landed, with the version it made; each reader the versions it read and a digest of what it saw. In
the end the changes are applied to a model in the order of the versions. Every version number must have been made once,
every read must be what the model has at that version, and the store must be what the model is in the end.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import pickle
import tempfile
import threading
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from obstore.store import MemoryStore

from atlas import Atlas
from atlas.storage.local import LocalStorage
from atlas.storage.memory import MemoryStorage
from tests.clock import lend_clock
from tests.reliability.actors import Log, Reader, Settings, Writer, begin, expected_digest
from tests.reliability.replay import State, difference, settle, succeed
from tests.reliability.twins import count_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE = 600


@dataclass(frozen=True)
class Schedule:
    """One store and who is at work on it."""

    place: str
    """"folder", "undurable" for one that is not waited for, "memory" or "objects"."""
    how: str
    """"threads", "fork" or "spawn"."""
    writers: int
    readers: int
    flushes: int
    """Flushes of each writer."""
    settings: Settings
    duos: int = 0
    """Handles that a thread flushes or refreshes while two others read by way of them."""
    codec: str = "none"


def run(full: bool) -> dict[str, int]:
    """Run all schedules, or a few short ones, and return the figures."""
    figures: Counter[str] = Counter()
    for seed, schedule in enumerate(_schedules(full)):
        with _aging(schedule.settings), _place(schedule.place) as source:
            first = begin(source, codec=schedule.codec)
            work = _run_threads if schedule.how == "threads" else _run_processes
            logs = work(source, schedule, seed)
            figures.update(_verify(source, first, logs, f"schedule {seed}, {schedule}"))
        figures["stores"] += 1
    return dict(figures)


def _schedules(full: bool) -> Iterator[Schedule]:
    keeping, greedy = Settings(), Settings(compactions=0.05, keep_none=True)
    rolling = Settings(rollbacks=0.04)
    greedy_rolling = Settings(compactions=0.05, rollbacks=0.03, keep_none=True, keeps=(1, 2, 8))
    thinning = Settings(compactions=0.3, rollbacks=0.02, keeps=(1, 2), thinning=True)
    if not full:
        yield Schedule("folder", "fork", 3, 1, 10, greedy)
        yield Schedule("undurable", "threads", 3, 1, 6, keeping, duos=1, codec="zstd")
        yield Schedule("memory", "threads", 3, 1, 16, greedy_rolling, duos=1)
        yield Schedule("objects", "threads", 3, 1, 8, rolling, duos=1)
        yield Schedule("memory", "threads", 3, 1, 16, thinning, duos=1)
        return
    for settings in (keeping, greedy, rolling, greedy_rolling):
        for writers in (2, 4, 8):
            share = 160 // writers
            yield Schedule("undurable", "fork", writers, 2, share, settings, codec="zstd")
            yield Schedule("undurable", "threads", writers, 2, share, settings, duos=1)
            yield Schedule("memory", "threads", writers, 2, 240 // writers, settings, duos=2)
            yield Schedule("objects", "threads", writers, 1, share, settings, duos=1)
        yield Schedule("folder", "spawn", 3, 2, 15, settings)
    for writers in (2, 4, 8):
        yield Schedule("undurable", "fork", writers, 2, 160 // writers, thinning, codec="zstd")
        yield Schedule("memory", "threads", writers, 2, 240 // writers, thinning, duos=2)


@contextmanager
def _aging(settings: Settings) -> Iterator[None]:
    """Let four hours pass in a second where versions are to be thinned, which begins after two hours then."""
    ages = {"_WHOLE_DAYS": 1 / 12, "_HOURLY": dt.timedelta(days=1), "_DAILY": dt.timedelta(days=3)}
    if settings.thinning:
        with lend_clock(speed=4 * 3600), mock.patch.multiple("atlas.maintenance.retention", **ages):
            yield
    else:
        yield


@contextmanager
def _place(kind: str) -> Iterator[Any]:
    """Lend a place for a store."""
    if kind == "memory":
        yield MemoryStorage()
    elif kind == "objects":
        yield MemoryStore()
    else:
        with tempfile.TemporaryDirectory(prefix="atlas-writers-") as folder:
            yield LocalStorage(Path(folder) / "store", durable=kind == "folder")


# At work


def _run_threads(source: Any, schedule: Schedule, seed: int) -> list[Log]:
    writing, stop = [], threading.Event()
    pickles = schedule.place in {"folder", "undurable"}
    with ThreadPoolExecutor(schedule.writers + schedule.readers + 3 * schedule.duos) as pool:
        try:
            writers = [Writer(source, at, seed, schedule.settings) for at in range(schedule.writers)]
            writing = [pool.submit(writer.run, schedule.flushes) for writer in writers]
            readers = [Reader(source, at, seed, pickles=pickles) for at in range(schedule.readers)]
            reading = [pool.submit(reader.run, stop.is_set) for reader in readers]
            for at in range(schedule.duos):
                mover = Writer(source, schedule.writers + at, seed, Settings(persistent=True))
                reading.append(pool.submit(_move, mover, stop.is_set, flushing=at % 2 == 0))
                beside = [Reader(source, 100 + 2 * at + side, seed, pickles=False) for side in range(2)]
                reading += [pool.submit(reader.run_beside, mover.store, stop.is_set) for reader in beside]
            logs = [future.result(_PATIENCE) for future in writing]
        finally:
            stop.set()
        return logs + [future.result(_PATIENCE) for future in reading]


def _move(mover: Writer, stopped: Callable[[], bool], *, flushing: bool) -> Log:
    """Move a handle that others read by way of, by flushes or by refreshes alone."""
    count = 0
    while not stopped():
        count += 1
        mover.rest()
        if flushing:
            mover.grow(f"mover {count}")
        mover.store.refresh()
    return mover.log


def _run_processes(source: Any, schedule: Schedule, seed: int) -> list[Log]:
    context = multiprocessing.get_context(schedule.how)
    stop, folder = context.Event(), source.path.parent
    writers = [
        context.Process(target=_write_there, args=(source, at, seed, schedule, folder / f"writer{at}"))
        for at in range(schedule.writers)
    ]
    readers = [
        context.Process(target=_read_there, args=(source, at, seed, stop, folder / f"reader{at}"))
        for at in range(schedule.readers)
    ]
    with warnings.catch_warnings():
        # Forks beside threads of the library are a part of what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        for process in (*writers, *readers):
            process.start()
    try:
        for process in writers:
            process.join(_PATIENCE)
        stop.set()
        for process in readers:
            process.join(_PATIENCE)
    finally:
        for process in (*writers, *readers):
            process.kill()
    ended = [process.exitcode for process in (*writers, *readers)]
    assert not any(ended), f"processes ended with {ended}; what they met is on stderr"
    return [pickle.loads(file.read_bytes()) for file in sorted(folder.glob("*er[0-9]*"))]


def _write_there(source: Any, at: int, seed: int, schedule: Schedule, file: Path) -> None:
    file.write_bytes(pickle.dumps(Writer(source, at, seed, schedule.settings).run(schedule.flushes)))


def _read_there(source: Any, at: int, seed: int, stop: Any, file: Path) -> None:
    file.write_bytes(pickle.dumps(Reader(source, at, seed, pickles=True).run(stop.is_set)))


# Afterwards


def _verify(source: Any, first: State, logs: list[Log], what: str) -> dict[str, int]:
    """Hold the logs against each other and against the store."""
    final = Atlas.open(source)
    latest, history = final.version, {version.version: version for version in final.history()}
    flushed = {version: (message, changes) for log in logs for version, message, changes in log.flushed}
    rolled = dict(entry for log in logs for entry in log.rolled)
    landed = sum(len(log.flushed) for log in logs)
    assert landed == len(flushed), f"{what}: a version was made by two flushes"
    assert len(rolled) == sum(len(log.rolled) for log in logs), f"{what}: a version was made by two rollbacks"
    assert not flushed.keys() & rolled.keys(), f"{what}: a version was made by a flush and by a rollback"
    others = set(range(2, latest + 1)) - flushed.keys() - rolled.keys()
    compacted = {version for log in logs for before, after in log.compacted for version in range(before + 1, after + 1)}
    assert others <= compacted, f"{what}: nobody made the versions {sorted(others - compacted)}"
    assert flushed.keys() | rolled.keys() <= set(range(2, latest + 1)), f"{what}: versions that the store lacks"
    for version, entry in history.items():
        made = "flush" if version in flushed else "rollback" if version in rolled else "compact"
        assert version < 2 or entry.action == made, f"{what}: version {version} is a {entry.action}, not a {made}"
        assert version not in flushed or entry.message == flushed[version][0], f"{what}: {entry} has another message"
    gone = [version for log in logs for version in log.gone]
    assert not history.keys() & set(gone), f"{what}: versions {history.keys() & set(gone)} are kept and were refused"

    begins, idle = defaultdict(list), defaultdict(list)
    for log in logs:
        for read in log.reads:
            begins[read[0]].append(read)
        for version, changes in log.idle:
            idle[version].append(changes)
    states, waiting, read_count = {1: first}, [], 0
    for version in range(1, latest + 1):
        if version in flushed:
            states[version] = succeed(states[version - 1], settle(flushed[version][1], states))
        elif version > 1:
            states[version] = states[rolled.get(version, version - 1)]
        state = states[version]
        for changes in idle[version]:
            assert succeed(state, settle(changes, states)) == state, f"{what}: {changes} were not flushed at {version}"
        left = []
        for read in waiting + begins[version]:
            if expected_digest(state, *read[2:5]) == read[5]:
                read_count += 1
            else:
                assert version < read[1], f"{what}: a handle at versions {read[0]} to {read[1]} read wrong {read[2:5]}"
                left.append(read)
        waiting = left
    assert not waiting, f"{what}: reads of versions that the store lacks: {waiting[:3]}"
    kept, beside, elsewhere = sorted(history), 0, 0
    for version in {*kept[:2], *kept[-3:], kept[len(kept) // 2]} - {0}:
        store = Atlas.open(source, version=version)
        wrong = difference(states[version], store)
        assert wrong is None, f"{what}: version {version}: {wrong}"
        beside, elsewhere = map(max, (beside, elsewhere), count_shared(store, "x"))
    return {
        "flushes landed": landed,
        "flushes and refreshes refused": sum(log.conflicts for log in logs),
        "flushes given up": sum(log.dropped for log in logs),
        "compactions": sum(len(log.compacted) for log in logs),
        "rollbacks": len(rolled),
        "reads": read_count,
        "reads of versions no longer kept": len(gone),
        "chunks shared within a segment": beside,
        "chunks shared with another segment": elsewhere,
    }
