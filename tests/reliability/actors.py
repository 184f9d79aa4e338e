"""Writers and readers of one store, each a thread or a process: what they do by a seed, and the log they keep of it."""

from __future__ import annotations

import pickle
import random
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas import Atlas, Limits
from atlas.errors import ConflictError, StaleHandleError, VersionNotFoundError
from tests.reliability.replay import BORN, Change, State, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

BEATS = tuple(f"beat{at}" for at in range(4))
"""Datasets of which two arrays and an attribute always change together."""
BEAT = ("a", "b", "stamp")
"""These arrays, and the attribute."""
BEAT_LENGTH, BEAT_CHUNK = 12, 5
SHARED = tuple(f"shared{at}" for at in range(6))
"""Names of datasets that every writer creates and deletes."""
ARRAYS = ("t", "u", "s", "x")
"""Names of arrays; `s` is of texts, `x` a coordinate."""
AXIS_LENGTH, AXIS_CHUNK = 80, 40
"""Of the coordinate: chunks of so many cells are shared over flushes."""
_AXES = 3
"""Contents that coordinates have, but where a part of one was replaced."""
KEYS = ("k0", "k1", "k2")
_MOST_DATASETS = 24


@dataclass
class Log:
    """What one writer or reader did."""

    flushed: list[tuple[int, str, list[Change]]] = field(default_factory=list)
    """Version, message and changes of each flush that landed."""
    idle: list[tuple[int, list[Change]]] = field(default_factory=list)
    """Version and changes of flushes that found nothing to commit."""
    rolled: list[tuple[int, int]] = field(default_factory=list)
    """Version made by each rollback, and the one it went back to."""
    compacted: list[tuple[int, int]] = field(default_factory=list)
    """Versions shown before and after each compaction, which makes one, none, or more where others compact too."""
    reads: list[tuple[int, int, str, str, str, int]] = field(default_factory=list)
    """First and last version that each read may show; what was read, of which dataset and array, and its digest."""
    gone: list[int] = field(default_factory=list)
    """Versions that could not be read because they are no longer kept."""
    conflicts: int = 0
    """Flushes and refreshes that were refused."""
    dropped: int = 0
    """Flushes that were given up."""


def axis_cells(content: int) -> list[int]:
    """Return the cells of a coordinate of some content."""
    return [1000 * content + at for at in range(AXIS_LENGTH)]


def digest(value: object) -> int:
    """Return a number that tells values apart."""
    return zlib.crc32(repr(value).encode())


class Writer:
    """A handle that changes the store and flushes, again and again."""

    def __init__(self, source: object, number: int, seed: int, settings: Settings) -> None:
        self.store = Atlas.open(source)
        self.log = Log()
        self._source, self._number, self._settings = source, number, settings
        self._random = random.Random(f"{seed}:writer:{number}")
        self._changes: list[Change] = []
        self._count = 0

    def unique(self) -> int:
        """Return a number that no writer has used."""
        self._count += 1
        return (self._number + 1) * 10_000_000 + self._count

    def run(self, flushes: int) -> Log:
        """Make so many flushes, landed or given up, and return the log."""
        for at in range(flushes):
            self.step(f"{self._number}:{at}")
            if self._random.random() < self._settings.compactions:
                self._compact()
            if self._random.random() < self._settings.rollbacks:
                self._roll_back()
            if self._random.random() < 0.05:
                self._reopen()
        return self.log

    def step(self, message: str) -> None:
        """Change something and flush it."""
        for _ in range(self._random.randint(1, 4)):
            try:
                self._change()
            except StaleHandleError:  # a write of a part of a chunk reads the rest of it
                self.log.gone.append(self.store.version)
                if not self._refresh():
                    return
        self._land(message)

    def rest(self) -> None:
        """Leave the processor, and the next versions, to others for a while."""
        time.sleep(self._random.random() * 0.1)

    def grow(self, message: str) -> None:
        """Flush a new dataset and the removal of an old one, by way of a handle that others read from."""
        own = [name for name in self.store.list_datasets() if name.startswith(f"mover{self._number}-")]
        if len(own) > 3:
            self._delete(own[0])
        name, born = f"mover{self._number}-{self.unique()}", self.unique()
        self.store.create_dataset(name).set_attribute(BORN, born)
        self._changes.append(Change("create", name, born))
        for key in ("t", "x"):
            self._define(name, born, key)
            self._write(name, born, key)
        self._land(message)

    # Landing

    def _land(self, message: str) -> None:
        while True:
            before = self.store.version
            try:
                self.store.flush(message)
            except ConflictError:
                self.log.conflicts += 1
                if self._gives_up(0.3):
                    self._reopen(dropping=True)
                    return
                if not self._refresh():
                    return
                continue
            if self.store.version > before:
                self.log.flushed.append((self.store.version, message, self._changes))
            else:
                self.log.idle.append((before, self._changes))
            self._changes = []
            return

    def _refresh(self) -> bool:
        """Move to the latest version with what is pending; False where that was given up."""
        while True:
            try:
                self.store.refresh()
            except ConflictError as error:
                self.log.conflicts += 1
                if self._gives_up(0.5):
                    self._reopen(dropping=True)
                    return False
                for dataset, array in error.collisions:
                    self._drop(dataset, array)
                continue
            self._changes.append(Change("refresh", "", 0, value=self.store.version))
            return True

    def _gives_up(self, share: float) -> bool:
        return not self._settings.persistent and self._random.random() < share

    def _drop(self, dataset: str, array: str | None) -> None:
        """Give up what is pending of something that is gone."""
        if array is None:
            self.store.delete_dataset(dataset)
            self._changes = [change for change in self._changes if change.dataset != dataset]
        elif self.store.dataset_exists(dataset):
            self._delete_array(dataset, self.store.open_dataset(dataset).get_attribute(BORN), array)

    def _reopen(self, *, dropping: bool = False) -> None:
        self.log.dropped += dropping
        self._changes = []
        self.store = Atlas.open(self._source)

    # Other commits

    def _compact(self) -> None:
        keep, before = self._random.choice(self._settings.keeps), self.store.version
        self.store.compact(keep_versions=keep, keep_days=0 if self._settings.keep_none else None)
        self.log.compacted.append((before, self.store.version))

    def _roll_back(self) -> None:
        target = max(1, self.store.version - self._random.randint(1, 6))
        try:
            made = self.store.rollback(target)
        except ConflictError:
            self.log.conflicts += 1
            self._refresh()
        except VersionNotFoundError:
            # Where versions are given up, one that is still kept may have files that are tombstoned already.
            self.log.gone += [] if self._settings.keep_none or self._settings.thinning else [target]
        else:
            self.log.rolled.append((made, target))

    # Changing

    def _change(self) -> None:
        what = self._random.random()
        names = [name for name in self.store.list_datasets() if not name.startswith(("beat", "mover"))]
        if what < 0.25:
            self._beat()
        elif what < 0.4 or not names:
            self._create(names)
        elif what < 0.47 or len(names) > _MOST_DATASETS:
            self._delete(self._random.choice(names))
        else:
            self._edit(self._random.choice(names))

    def _beat(self) -> None:
        name, stamp = self._random.choice(BEATS), self.unique()
        view = self.store.open_dataset(name)
        born = view.get_attribute(BORN)
        # The parts that can fail first, so that none is written without the others.
        for key in BEAT[:2]:
            view.write_array(key, [0], np.full(BEAT_LENGTH, stamp, np.int64))
            self._changes.append(Change("write", name, born, key, -1, (0, [stamp] * BEAT_LENGTH)))
        view.set_attribute(BEAT[2], stamp)
        self._changes.append(Change("set", name, born, BEAT[2], value=stamp))

    def _create(self, names: list[str]) -> None:
        lacking = [name for name in SHARED if name not in names]
        if self._random.random() < 0.2:
            self._create_some()
            return
        if lacking and self._random.random() < 0.5:
            name = self._random.choice(lacking)
        else:
            name = f"own{self._number}-{self.unique()}"
        born = self._born(name)
        keys = {*self._random.sample(ARRAYS, self._random.randint(0, 2)), self._random.choice(["t", "x"])}
        for key in sorted(keys):
            self._define(name, born, key)
            self._write(name, born, key)

    def _born(self, name: str) -> int:
        born = self.unique()
        self.store.create_dataset(name).set_attribute(BORN, born)
        self._changes.append(Change("create", name, born))
        return born

    def _create_some(self) -> None:
        """Create datasets with an array of a length of its own each, which are written as one."""
        names = [f"own{self._number}-{self.unique()}" for _ in range(self._random.randint(1, 3))]
        key, fill, chunk = "t", -self.unique(), self._random.randint(1, 6)
        rows = []
        for name in names:
            born, length, first = self._born(name), self._random.randint(1, 14), self.unique() * 100
            rows.append([first + at for at in range(length)])
            self._changes.append(Change("define", name, born, key, fill, (length, chunk)))
            self._changes.append(Change("write", name, born, key, fill, (0, rows[-1])))
        values, sizes = np.concatenate(rows), [len(row) for row in rows]
        self.store.write_array_across_ragged(key, names, values, sizes, ["x"], [chunk], fill)

    def _is_pending(self, name: str, key: str, *whats: str) -> bool:
        return any(change.dataset == name and change.key == key and change.what in whats for change in self._changes)

    def _delete(self, name: str) -> None:
        # What was made and taken back leaves nothing: the log would have to tell it from what was there before.
        if self._is_pending(name, "", "create"):
            return
        born = self.store.open_dataset(name).get_attribute(BORN)
        self.store.delete_dataset(name)
        self._changes = [change for change in self._changes if (change.dataset, change.born) != (name, born)]
        self._changes.append(Change("delete", name, born))

    def _edit(self, name: str) -> None:
        view = self.store.open_dataset(name)
        born, arrays = view.get_attribute(BORN), view.list_arrays()
        what, key = self._random.random(), self._random.choice((*ARRAYS, f"own{self._number}"))
        attribute = self._random.choice(KEYS)
        if key not in arrays and what < 0.3:
            self._define(name, born, key)
            if key == "x":
                self._write(name, born, key)
        elif arrays and what < 0.38:
            self._delete_array(name, born, self._random.choice(arrays))
        elif arrays and what < 0.75:
            self._write(name, born, self._random.choice(arrays))
        elif self._is_pending(name, attribute, "set", "unset"):
            pass
        elif attribute in view.attributes() and what < 0.85:
            view.delete_attribute(attribute)
            self._changes.append(Change("unset", name, born, attribute))
        else:
            value = self._random.choice([self.unique(), f"text {self.unique()}"])
            view.set_attribute(attribute, value)
            self._changes.append(Change("set", name, born, attribute, value=value))

    def _delete_array(self, name: str, born: int, key: str) -> None:
        if self._is_pending(name, key, "define"):
            return
        self.store.open_dataset(name).delete_array(key)
        self._changes = [
            change
            for change in self._changes
            if (change.what, change.dataset, change.born, change.key) != ("write", name, born, key)
        ]
        self._changes.append(Change("drop", name, born, key))

    def _define(self, name: str, born: int, key: str) -> None:
        """Declare an array; a coordinate, which has no fill that would tell it from others, must be written next."""
        if key == "x":
            self.store.open_dataset(name).define_array(key, "int64", [key], [AXIS_LENGTH], [AXIS_CHUNK])
            self._changes.append(Change("define", name, born, key, None, (AXIS_LENGTH, AXIS_CHUNK)))
            return
        length, chunk = self._random.randint(1, 14), self._random.randint(1, 6)
        fill = f"fill {self.unique()}" if key == "s" else -self.unique()
        dtype = "string" if key == "s" else "int64"
        self.store.open_dataset(name).define_array(key, dtype, ["x"], [length], [chunk], fill_value=fill)
        self._changes.append(Change("define", name, born, key, fill, (length, chunk)))

    def _write(self, name: str, born: int, key: str) -> None:
        view = self.store.open_dataset(name)
        (length,), fill = view.array_meta(key)["shape"], view.array_fill_value(key)
        if key == "x":
            start, numbers = self._some_of_an_axis(whole=self._is_pending(name, key, "define"))
        else:
            start = self._random.randrange(length)
            count = self._random.randint(1, length - start)
            first = self.unique() * 100
            numbers = [first + at for at in range(count)]
        values = [f"é{number}" for number in numbers] if key == "s" else numbers
        view.write_array(key, [start], np.array(values, object if key == "s" else np.int64))
        self._changes.append(Change("write", name, born, key, fill, (start, values)))

    def _some_of_an_axis(self, *, whole: bool) -> tuple[int, list[int]]:
        """Return where to write to a coordinate, and what: all of it, a chunk, or some cells."""
        cells = axis_cells(self._random.randrange(_AXES))
        start, stop = 0, AXIS_LENGTH
        if not whole and self._random.random() < 0.7:
            start = self._random.randrange(0, AXIS_LENGTH, AXIS_CHUNK)
            stop = start + self._random.choice([AXIS_CHUNK, AXIS_CHUNK, 7])
        return start, cells[start:stop]


@dataclass(frozen=True)
class Settings:
    """What writers do beside flushing, and how often."""

    compactions: float = 0.03
    """Share of flushes that a compaction follows."""
    rollbacks: float = 0.0
    """Share of flushes that a rollback follows."""
    keeps: tuple[int, ...] = (1, 3, 10)
    """Versions that compactions keep."""
    keep_none: bool = False
    """Whether compactions remove what was the latest just now."""
    thinning: bool = False
    """Whether the clock goes fast, so that versions come of age and are thinned."""
    persistent: bool = False
    """Whether a flush is never given up, as others use the handle."""


class Reader:
    """Handles of its own, opened at all moments, or one that another thread moves."""

    def __init__(self, source: object, number: int, seed: int, *, pickles: bool) -> None:
        self.log = Log()
        self._source, self._pickles = source, pickles
        self._random = random.Random(f"{seed}:reader:{number}")

    def run(self, stopped: Callable[[], bool]) -> Log:
        """Open, read, refresh and pickle handles until told to stop, and return the log."""
        while not stopped():
            self._rest()
            store = self._open()
            if store is None:
                continue
            fixed = self._pickles and self._random.random() < 0.3
            try:
                if fixed:  # whoever loads it gets a handle that this process may hold elsewhere too
                    store = pickle.loads(pickle.dumps(store))
                for _ in range(self._random.randint(1, 6)):
                    version = store.version
                    self.read(store, version)
                    assert store.version == version, "a handle moved by itself"
                    if not fixed and self._random.random() < 0.2:
                        assert store.refresh() >= version
            except StaleHandleError:
                self.log.gone.append(store.version)
        return self.log

    def run_beside(self, store: Atlas, stopped: Callable[[], bool]) -> Log:
        """Read the beats through a handle that another thread moves, until told to stop."""
        while not stopped():
            self._rest()
            first = store.version
            try:
                found = self._read_beat(store)
            except StaleHandleError:
                self.log.gone.append(first)
                continue
            last = store.version
            self.log.reads += [(first, last, *entry) for entry in found]
        return self.log

    def _rest(self) -> None:
        # Readers that never wait would leave little of a processor to the writers.
        time.sleep(self._random.random() * 0.02)

    def _open(self) -> Atlas | None:
        store = Atlas.open(self._source)
        if self._random.random() < 0.6:
            return store
        version = max(1, store.version - self._random.randint(0, 12))
        try:
            return Atlas.open(self._source, version=version)
        except VersionNotFoundError:
            self.log.gone.append(version)
            return None

    def read(self, store: Atlas, version: int) -> None:
        """Read some of everything through a handle that stays at a version."""
        names = store.list_datasets()
        found = [("names", "", "", digest(names)), *self._read_beat(store)]
        for name in self._random.sample(names, min(3, len(names))):
            view = store.open_dataset(name)
            found.append(("attributes", name, "", digest(sorted(view.attributes().items()))))
            for key in view.list_arrays():
                found.append(("cells", name, key, digest(view.read_array(key).tolist())))
                found.append(("stats", name, key, digest(view.array_stats(key))))
        for key in ARRAYS:
            if key in store.list_arrays():
                cells = store.read_array_across(key, names)
                found.append(("across", "", key, digest([None if some is None else some.tolist() for some in cells])))
        self.log.reads += [(version, version, *entry) for entry in found]

    def _read_beat(self, store: Atlas) -> list[tuple[str, str, str, int]]:
        name, key = self._random.choice(BEATS), self._random.choice(BEAT[:2])
        view = store.open_dataset(name)
        stacked = store.read_array_across_stacked(key, list(BEATS), [3], [7])
        whole = store.read_array_across_stacked(key, list(BEATS))
        return [
            ("cells", name, key, digest(view.read_array(key).tolist())),
            ("stats", name, key, digest(view.array_stats(key))),
            ("attributes", name, "", digest(sorted(view.attributes().items()))),
            ("box", "", key, digest(stacked.tolist())),
            ("stacked", "", key, digest(whole.tolist())),
        ]


def expected_digest(state: State, what: str, name: str, key: str) -> int | None:
    """Return the digest of a read of a state, None where there is nothing to be read."""
    dataset = state.get(name)
    array = None if dataset is None else dataset.arrays.get(key)
    if what == "names":
        return digest(list(state))
    if what == "across":
        held = [some.arrays.get(key) for some in state.values()]
        return digest([None if some is None else list(some.values) for some in held])
    if what in {"box", "stacked"}:
        span = slice(3, 10) if what == "box" else slice(None)
        return digest([list(state[beat].arrays[key].values[span]) for beat in BEATS])
    if what == "attributes":
        return None if dataset is None else digest(sorted(dataset.attributes.items()))
    if array is None:
        return None
    return digest(list(array.values)) if what == "cells" else digest(array.stats())


def begin(source: Any, *, codec: str) -> State:
    """Create a store with the beats, as version 1, and return what it holds."""
    store = Atlas.create(source, codec, limits=Limits(pack_commits=6))  # so that commits are gathered all the time
    changes = []
    for at, name in enumerate(BEATS):
        view = store.create_dataset(name)
        view.set_attribute(BORN, at)
        changes += [Change("create", name, at)]
        for key in BEAT[:2]:
            view.define_array(key, "int64", ["x"], [BEAT_LENGTH], [BEAT_CHUNK], fill_value=-1)
            view.write_array(key, [0], np.zeros(BEAT_LENGTH, np.int64))
            changes += [
                Change("define", name, at, key, -1, (BEAT_LENGTH, BEAT_CHUNK)),
                Change("write", name, at, key, -1, (0, [0] * BEAT_LENGTH)),
            ]
        view.define_array("x", "int64", ["x"], [AXIS_LENGTH], [AXIS_CHUNK])
        view.write_array("x", [0], np.array(axis_cells(0)))
        changes += [
            Change("define", name, at, "x", None, (AXIS_LENGTH, AXIS_CHUNK)),
            Change("write", name, at, "x", None, (0, axis_cells(0))),
        ]
        view.set_attribute(BEAT[2], 0)
        changes += [Change("set", name, at, BEAT[2], value=0)]
    store.flush("begin")
    return succeed({}, changes)
