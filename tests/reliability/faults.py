"""Faults at every operation in turn, one and two in a row: nothing is lost, nothing half done shows, a retry succeeds.

Each case is a scenario of steps, taken by a store behind a faulty storage or handle and by a twin of dictionaries.
After a step that fails: the error is an `AtlasError`; the handle shows what it showed; whoever opens the store sees it
as it was before the step or as it is after; and the step succeeds once it is taken again. At the end the store holds
what the twin does, by the handle and when opened; no more versions were made than there were tries; and once it is
compacted no more objects are left than where nothing failed.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from obstore.store import MemoryStore

from atlas import Atlas
from atlas.errors import AtlasError, ConflictError, StaleHandleError, StoreExistsError, StoreNotFoundError
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import LocalStorage, MemoryStorage
from tests.reliability.faulty import BY_KIND, FaultyHandle, FaultyStorage, Injector
from tests.reliability.twin import Content, Twin, content_of, difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Step = Callable[[Any], object]

_TRIES = 6


@dataclass(frozen=True)
class Scenario:
    """What is done to a store while one of its operations fails, or two."""

    name: str
    setup: tuple[Step, ...]
    """Done beforehand, in peace."""
    steps: tuple[Step, ...]
    """Done while operations fail, each until it succeeds."""
    opened: bool = False
    """Whether the store is opened anew, while operations fail, before the steps."""
    created: bool = False
    """Whether the store is created while operations fail; with a setup it replaces one that is there."""
    paged: bool = False
    """Whether rows go to pages at once."""
    packed: bool = False
    """Whether two commits make a pack."""


@dataclass(frozen=True)
class Rival:
    """A step that another writer takes and commits, in peace."""

    step: Step

    def __call__(self, store: Any) -> None:
        self.step(store)


@dataclass(frozen=True)
class World:
    """A place, twice: as it is, and with an injector before it."""

    plain: Any
    faulty: Any
    injector: Injector
    list_keys: Callable[[], Sequence[str]]
    """Everything that lies there, unfinished files too."""


class BrokenPromise(AssertionError):
    """A case that did not end as it must."""


# -- scenarios


def _write(dataset: str, array: str, start: Sequence[int], cells: Any, dtype: str = "float64") -> Step:
    return lambda store: store.open_dataset(dataset).write_array(array, list(start), np.asarray(cells, dtype))


def _add_axis(view: Any) -> None:
    """Add a coordinate that all datasets have in common, so that its chunks lie in the segment of the first."""
    view.define_array("x", "float64", ["x"], [6], [4])
    view.write_array("x", [0], np.arange(6.0) / 2)


def _make(dataset: str) -> Step:
    def step(store: Any) -> None:
        view = store.create_dataset(dataset)
        view.define_array("t", "float64", ["x"], [6], [2], -1.0)
        view.define_array("s", "string", ["x"], [4], [4])
        view.write_array("t", [0], np.arange(6.0))
        view.write_array("s", [0], np.array(["a", "ü", "", "long text"], object))
        _add_axis(view)
        view.set_attribute("k", 1)

    return step


def _small(number: int) -> tuple[Step, ...]:
    """A flush that adds little."""

    def step(store: Any) -> None:
        view = store.create_dataset(f"n{number}")
        view.define_array("t", "float64", ["x"], [3])
        view.write_array("t", [0], np.full(3, float(number)))
        _add_axis(view)

    return step, flush


def flush(store: Any) -> None:
    store.flush()


def gather(store: Any) -> None:
    """Keep all versions, and gather their commits."""
    store.compact()


def compact(store: Any) -> None:
    """Reclaim all that the latest version does not need."""
    store.compact(keep_versions=1, keep_days=0)


def refresh(store: Any) -> None:
    store.refresh()


def _attribute(dataset: str, key: str, value: Any) -> Step:
    return lambda store: store.open_dataset(dataset).set_attribute(key, value)


_TWO = (_make("a"), _make("b"), flush)
SCENARIOS = (
    Scenario("create", (), (_make("a"), flush), created=True),
    Scenario("replace", _TWO, (_make("c"), flush), created=True),
    Scenario("flush of new datasets", _TWO, (_make("c"), _make("d"), flush)),
    Scenario("flush of attributes", _TWO, (_attribute("a", "k", 2.5), _attribute("b", "new", "text"), flush)),
    Scenario(
        "overwriting",
        _TWO,
        (
            _write("a", "t", [1], [100, 101, 102]),
            _attribute("a", "k", "later"),
            lambda store: store.open_dataset("b").write_array("s", [1], np.array(["new", "ü"], object)),
            flush,
            _write("a", "t", [0], np.arange(6.0) * 7),
            flush,
        ),
    ),
    Scenario(
        "deleting",
        _TWO,
        (
            lambda store: store.delete_dataset("a"),
            lambda store: store.open_dataset("b").delete_array("t"),
            flush,
            _make("a"),
            flush,
        ),
    ),
    Scenario("pages", _TWO, (_make("c"), flush, _make("d"), lambda s: s.delete_dataset("a"), flush), paged=True),
    Scenario("joining", (*_TWO, *(step for n in range(5) for step in _small(n))), (*_small(5), *_small(6), *_small(7))),
    Scenario(
        "compacting",
        (*_TWO, _write("a", "t", [1], [5, 6, 7]), flush, *_small(1)),
        (lambda store: store.delete_dataset("b"), _write("a", "t", [3], [9, 9]), compact, *_small(2), compact),
    ),
    Scenario(
        "gathering",
        (*_TWO, *_small(1), *_small(2)),
        (*_small(3), gather, *_small(4), compact),
        packed=True,
    ),
    Scenario("moving on", _TWO, (Rival(_make("r")), _write("a", "t", [1], [5, 6, 7]), refresh, flush)),
    Scenario(
        "landing on top of others",
        _TWO,
        (
            _write("a", "t", [1], [5, 6, 7]),
            _make("c"),
            Rival(_make("r")),
            Rival(lambda store: store.open_dataset("b").set_attribute("k", "theirs")),
            flush,
            _make("d"),
            flush,
        ),
    ),
    Scenario(
        "compacting beside others",
        (*_TWO, _write("a", "t", [1], [5, 6, 7]), flush),
        (_make("c"), Rival(_make("r")), compact),
    ),
    Scenario(
        "going back",
        (*_TWO, _write("a", "t", [1], [5, 6, 7]), flush),
        (lambda store: store.rollback(1), _make("c"), flush),
    ),
    Scenario("opening and reading", (*_TWO, _write("a", "t", [1], [5, 6, 7]), flush), (), opened=True),
    Scenario("opening after compaction", (*_TWO, *_small(1), compact, *_small(2)), _small(3), opened=True),
    Scenario("opening pages", (*_TWO, *_small(1)), _small(2), opened=True, paged=True),
)


# -- worlds


@contextmanager
def memory_world() -> Iterator[World]:
    storage, injector = MemoryStorage(), Injector()
    yield World(storage, FaultyStorage(storage, injector), injector, storage.list)


@contextmanager
def folder_world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:  # noqa: PTH112
        storage, injector = LocalStorage(folder, durable=False), Injector()
        yield World(
            storage, FaultyStorage(storage, injector), injector, lambda: [*storage.list(), *storage.list_orphans()]
        )


def handle_world(handle: Any) -> World:
    injector = Injector()
    return World(
        handle,
        FaultyHandle(handle, injector),
        injector,
        lambda: [entry["path"] for batch in handle.list() for entry in batch],
    )


@contextmanager
def object_world() -> Iterator[World]:
    yield handle_world(MemoryStore())


# -- one case


class _Case:
    def __init__(self, world: World, scenario: Scenario, faults: Mapping[int | str, str]) -> None:
        self.world, self.scenario, self.faults = world, scenario, faults
        self.twin = Twin()
        self.store: Any = None
        self.failures = 0

    def run(self) -> tuple[int, Counter[str]]:
        """Take all steps; return the version, and how many objects are left at the end, by folder."""
        scenario, injector = self.scenario, self.world.injector
        if scenario.setup or not scenario.created:
            self.store = Atlas.create(self.world.faulty)
            self.twin.do(flush)
            for step in scenario.setup:
                step(self.store)
                self.twin.do(step)
        injector.arm(self.faults)
        if scenario.created:
            self._begin()
        elif scenario.opened:
            self.store = None
            self._take(lambda: Atlas.open(self.world.faulty), lambda: None)
            self._take(lambda: self._compare("when read", content_of(self.store), self.twin.content()), lambda: None)
        for step in scenario.steps:
            if isinstance(step, Rival):
                self._let_rival(step)
            else:
                # A compaction flushes and moves on before it does more, which may fail.
                part = step is compact
                self._take(lambda step=step: step(self.store), lambda step=step: self.twin.do(step), part=part)
        with injector.paused():
            injector.release("after the next")
            injector.release("before the retry")
            injector.release("after the retry")
            self._see(self.twin.content(), [self.twin.flushed])
            version = version_of(self.store)
            self._finish()
            return version, Counter(key.rpartition("/")[0] for key in self.world.list_keys())

    def _begin(self) -> None:
        """Create the store, or replace the one that is there."""
        before = self.twin.flushed
        self.twin = Twin()
        self.twin.flushed = before

        def create() -> Atlas:
            try:
                return Atlas.create(self.world.faulty, overwrite=bool(self.scenario.setup))
            except StoreExistsError:
                # A call before may have made it and failed, or could not read what it had made itself.
                if not self.failures and not any(met.endswith(("short", "flip")) for met in self.world.injector.met):
                    self._fail("a create met its own first request, and took it for another's")
                return Atlas.open(self.world.faulty)

        self.store = None
        self._take(create, lambda: self.twin.do(flush))

    def _let_rival(self, step: Step) -> None:
        with self.world.injector.paused():
            other = Atlas.open(self.world.plain)
            step(other)
            other.flush()
        self.twin.rival(step)

    def _take(self, act: Callable[[], Any], mirror: Callable[[], object], *, part: bool = False) -> None:
        """Take one step until it succeeds; `part` where a step that failed may have moved the handle on already."""
        shown, kept = self.twin.content(), self.twin.flushed
        mirror()
        injector = self.world.injector
        for _ in range(_TRIES):
            try:
                answer = act()
            except AtlasError as error:
                if isinstance(error, ConflictError | StaleHandleError):
                    self._fail(f"a lone writer was told {error!r}")
                self.failures += 1
                with injector.paused():
                    self._see(shown, [kept, self.twin.flushed], part=part)
                    injector.release("before the retry")
                    self._see(shown, [kept, self.twin.flushed], part=part)
                continue
            except Exception as error:
                raise BrokenPromise(f"{self._words()}: raised {error!r}, which is no AtlasError") from error
            if isinstance(answer, Atlas):
                self.store = answer
            with injector.paused():
                self._see(self.twin.content(), [self.twin.flushed])
            return
        self._fail(f"still fails after {_TRIES} tries")

    def _see(self, shown: Content, kept: Sequence[Content | None], *, part: bool = False) -> None:
        """Compare what the handle shows, and what whoever opens the store sees."""
        if self.store is not None:
            seen = content_of(self.store)
            if not part or difference(seen, self.twin.content()):
                self._compare("by the handle", seen, shown)
        found = self._opened()
        differences = [difference(found, content) for content in kept]
        if all(differences):
            self._fail(f"when opened, {differences}")

    def _opened(self) -> Content | None:
        try:
            return content_of(Atlas.open(self.world.plain))
        except StoreNotFoundError:
            return None
        except AtlasError as error:
            raise BrokenPromise(f"{self._words()}: cannot be opened: {error!r}") from error

    def _compare(self, how: str, found: Content | None, expected: Content | None) -> None:
        differs = difference(found, expected)
        if differs:
            self._fail(f"{how}, {differs}")

    def _finish(self) -> None:
        """Go on in peace, reclaim everything and look once more."""
        for step in (*_small(99), compact, compact):
            step(self.store)
            self.twin.do(step)
        self._see(self.twin.content(), [self.twin.flushed])

    def judge(self, version: int, left: Counter[str], usual: int, usually_left: Counter[str]) -> None:
        """Compare with what comes of the scenario where nothing fails: its version, and what is left by folder."""
        # A compaction that reads a damaged link starts over, as if another process had compacted, and raises nothing.
        met = self.world.injector.met
        damaged = sum(fault.endswith(("short", "flip")) for fault in met)
        retries = max(self.failures, min(self.failures + damaged, len(met)))
        if not usual <= version <= usual + retries:
            self._fail(f"is at version {version} after {self.failures} failures, for {usual} without any")
        # Links between bases stay, one for every compaction that was tried; all else is reclaimed.
        more = left - usually_left - Counter(bases=retries)
        if more:
            self._fail(f"leaves more than where nothing fails: {dict(more)}")

    def _words(self) -> str:
        return f"{self.scenario.name}: {'; '.join(self.world.injector.met) or 'no fault'}"

    def _fail(self, what: str) -> None:
        raise BrokenPromise(f"{self._words()}: {what}")


def version_of(store: Any) -> int:
    return store.version


# -- all of them


@dataclass
class Figures:
    """What was run."""

    scenarios: int = 0
    operations: int = 0
    cases: int = 0
    faults: int = 0

    def told(self) -> dict[str, int]:
        """Return them by name."""
        return {
            "scenarios": self.scenarios,
            "operations": self.operations,
            "cases": self.cases,
            "faults met": self.faults,
        }


_SECOND = {
    "request": ("before", "lost", "twice", "short", "flip", "after the next", "before the retry"),
    "call": ("EIO", "lost", "partly"),
}
"""What may befall the operation after one that failed, by what that was."""


def cases_of(log: Sequence[tuple[str, str]], pairs: bool) -> Iterator[dict[int | str, str]]:
    """Yield what is to befall which operation: one fault at each of the log, by name, or two in a row, by number."""
    for at, (kind, name) in enumerate(log):
        for fault in BY_KIND[kind]:
            if not pairs:
                yield {name: fault}
            elif fault != "late":
                # What the operation after it is depends on the first fault: whatever may befall one is tried.
                for second in _SECOND["call" if kind in {"query", "call", "transfer"} else "request"]:
                    yield {at: fault, at + 1: second}


def run_world(
    make: Callable[[], Any],
    figures: Figures,
    *,
    pairs: bool = False,
    every: int = 1,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> None:
    """Run the scenarios in worlds that `make` makes, every case or one of `every`."""
    for scenario in scenarios:
        with ExitStack() as stack:
            # One thread, so that a case that fails can be run again: the same operations in the same order.
            stack.enter_context(mock.patch.dict(os.environ, ATLAS_NUM_THREADS="1"))
            if scenario.packed:
                stack.enter_context(mock.patch.object(limits, "DEFAULT", Limits(pack_commits=2)))
            if scenario.paged:
                stack.enter_context(mock.patch.object(limits, "DEFAULT", Limits(page_rows=0)))
            with make() as world:
                version, left = _Case(world, scenario, {}).run()
                log = list(world.injector.log)
            figures.scenarios += 1
            figures.operations += len(log)
            for faults in islice(cases_of(log, pairs), None, None, every):
                with make() as world:
                    case = _Case(world, scenario, faults)
                    case.judge(*case.run(), version, left)
                    figures.cases += 1
                    figures.faults += len(world.injector.met)


def run(full: bool, scenario: str | None = None) -> dict[str, int]:
    """Run every scenario, or the one named, over memory, a folder and an obstore handle.

    Runs every fault, and every two in a row; or a few of the first.
    """
    figures = Figures()
    chosen = [each for each in SCENARIOS if scenario in (None, each.name)]
    if not chosen:
        raise SystemExit(f"no scenario {scenario!r}; there are {', '.join(each.name for each in SCENARIOS)}")
    for make in (memory_world, object_world):
        run_world(make, figures, every=1 if full else 29, scenarios=chosen)
    if full:
        run_world(folder_world, figures, scenarios=chosen)
        for make in (memory_world, object_world):
            run_world(make, figures, pairs=True, scenarios=chosen)
    return figures.told()
