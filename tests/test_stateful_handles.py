"""Several handles on one store, in any order, against a model that says what lands, what collides and what is seen."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from atlas import Atlas
from atlas.errors import ConflictError, InvalidValueError, StaleHandleError, VersionNotFoundError
from atlas.runtime import limits
from atlas.storage.local import LocalStorage
from atlas.storage.memory import MemoryStorage
from tests.test_stateful import SMALL_LIMITS, alike

NAMES, ARRAYS = ("a", "b", "c"), ("t", "s")
ATTRIBUTES = {"t": "k", "s": "l"}
FILLS = {"int": -1, "plain": None, "text": "none"}
"""Kinds of arrays and their fill values."""
LENGTH, CHUNK = 7, 3
VALUES = [1, 1.0, True]
CHANGES = ["write", "write", "set", "unset", "define", "drop", "delete", "create"]


@dataclass(frozen=True)
class Declared:
    """An array of a version."""

    token: int
    """What no other declaration has, not even an equal one."""
    kind: str
    cells: tuple
    chunks: frozenset = frozenset()
    """Those that were ever flushed."""

    def stats(self):
        """What `array_stats` says of it."""
        if not self.chunks:
            return None
        found = [cell for at, cell in enumerate(self.cells) if at // CHUNK in self.chunks]
        valid = [cell for cell in found if FILLS[self.kind] is None or cell != FILLS[self.kind]]
        low, high = min(valid, default=None), max(valid, default=None)
        return {"row_count": LENGTH, "null_count": LENGTH - len(valid), "min": low, "max": high}


@dataclass(frozen=True)
class Held:
    """A dataset of a version."""

    identity: int
    """What no other dataset has, not even one of the same name."""
    arrays: dict = field(default_factory=dict)
    attributes: dict = field(default_factory=dict)


def tokens(arrays):
    return {key: array.token for key, array in arrays.items()}


def same(one, other):
    """Whether two attributes or tokens are the same, or both missing."""
    return type(one) is type(other) and one == other


def changes_of(before, after):
    """The keys that have come, gone or changed, those of `after` first."""
    return [key for key in {**after, **before} if not same(before.get(key), after.get(key))]


def laid_over(before, mine, theirs):
    """Theirs with what mine has changed since before."""
    changed = changes_of(before, mine)
    if list(theirs) == list(before) and not changes_of(before, theirs):
        return mine
    out = {key: value for key, value in theirs.items() if key in mine or key not in changed}
    return out | {key: mine[key] for key in changed if key in mine}


def collide(before, mine, theirs):
    """The keys that both have changed, each in its own way."""
    both = {*changes_of(before, mine)} & {*changes_of(before, theirs)}
    return both.intersection(changes_of(mine, theirs))


class Pending:
    """What a handle has done since its version."""

    def __init__(self):
        self.created = {}
        self.deleted = {}
        self.changed = {}
        self.written = {}  # cells by dataset and declaration
        self.edited = False  # whether anything was done, though it may have come to nothing

    def __bool__(self):
        return bool(self.created or self.deleted or self.changed or any(self.written.values()))

    def chunks(self):
        """The chunks written to, by dataset and declaration."""
        return {(*key, at // CHUNK) for key, cells in self.written.items() for at in cells}

    def forget(self, identity, token=None):
        """Drop what was written to a dataset, or to one of its arrays."""
        self.written = {
            key: cells for key, cells in self.written.items() if key[0] != identity or token not in {None, key[1]}
        }

    def with_cells(self, held):
        """A dataset as it is with what was written to it."""
        arrays = {}
        for key, array in held.arrays.items():
            cells = self.written.get((held.identity, array.token), {})
            arrays[key] = replace(array, cells=tuple(cells.get(at, cell) for at, cell in enumerate(array.cells)))
        return replace(held, arrays=arrays)

    def on(self, state):
        """A state with all of this on top."""
        gone = set(self.deleted.values())
        kept = {name: self.changed.get(name, held) for name, held in state.items() if held.identity not in gone}
        return {name: self.with_cells(held) for name, held in (kept | self.created).items()}


@dataclass
class Handle:
    """A handle, its version and what is pending."""

    store: Atlas
    version: int
    pending: Pending = field(default_factory=Pending)


@dataclass(frozen=True)
class Version:
    """A version of the store."""

    action: str
    state: dict
    wrote: frozenset = frozenset()
    """Dataset, declaration, chunk and array name of everything its commit wrote."""


class Handles(RuleBasedStateMachine):
    """A store with all its versions, and the handles on it."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="atlas-handles-"))
        self.patch = pytest.MonkeyPatch()
        self.versions = [Version("create", {})]
        self.oldest = 0
        self.count = 0

    @initialize(memory=st.booleans(), small=st.booleans(), handles=st.integers(2, 4))
    def create_store(self, memory, small, handles):
        if small:
            self.patch.setattr(limits, "DEFAULT", SMALL_LIMITS)
            self.patch.setattr(MemoryStorage, "coalesce_gap", 8)
        self.source = MemoryStorage() if memory else LocalStorage(self.folder / "store", durable=False)
        self.picklable = not memory
        first = Handle(Atlas.create(self.source, "none"), 0)
        for name in NAMES[:2]:
            self.create(first, name)
            self.define(first, name, "t", "int")
            self.write(first, name, "t", 0, [1, 2, 3])
        self.flush_now(first)
        self.handles = [first, *(Handle(Atlas.open(self.source), 1) for _ in range(handles - 1))]

    def teardown(self):
        try:
            if hasattr(self, "handles"):
                for handle in self.handles:
                    self.compare(handle)
                self.compare_latest()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    def cells(self, data, count):
        """Cells that nothing else has, or those that other datasets have too: equal chunks are stored once."""
        if data.draw(st.booleans(), label="alike"):
            return [1 + at % CHUNK for at in range(count)]
        return [self.number() for _ in range(count)]

    def number(self):
        self.count += 1
        return self.count

    @property
    def latest(self):
        return len(self.versions) - 1

    # Doing to a handle and to its model

    def shown(self, handle):
        return handle.pending.on(self.versions[handle.version].state)

    def own(self, handle, name):
        """Where the model keeps the dataset, for it to be changed there."""
        pending = handle.pending
        pending.edited = True
        if name not in pending.created and name not in pending.changed:
            pending.changed[name] = self.versions[handle.version].state[name]
        where = pending.created if name in pending.created else pending.changed
        return where, where[name]

    def create(self, handle, name):
        handle.store.create_dataset(name)
        handle.pending.created[name] = Held(self.number())
        handle.pending.edited = True

    def define(self, handle, name, key, kind):
        dtype, fill = "string" if kind == "text" else "int64", FILLS[kind]
        handle.store.open_dataset(name).define_array(key, dtype, [key], [LENGTH], [CHUNK], fill_value=fill)
        where, held = self.own(handle, name)
        array = Declared(self.number(), kind, (0 if fill is None else fill,) * LENGTH)
        where[name] = replace(held, arrays=held.arrays | {key: array})

    def write(self, handle, name, key, start, cells):
        held = self.shown(handle)[name]
        array = held.arrays[key]
        texts = array.kind == "text"
        values = [f"é{cell}" for cell in cells] if texts else cells
        data = np.array(values, object if texts else np.int64)
        try:
            handle.store.open_dataset(name).write_array(key, [start], data)
        except StaleHandleError:
            assert handle.version < self.oldest
            return
        written = handle.pending.written.setdefault((held.identity, array.token), {})
        written.update(enumerate(values, start))
        handle.pending.edited = True

    # Changing

    def change(self, data, handle, what, name, key):
        """Change a dataset in one of many ways, where that can be done, or see it refused."""
        shown = self.shown(handle)
        if what == "create":
            if name in shown:
                with pytest.raises(FileExistsError):
                    handle.store.create_dataset(name)
            else:
                self.create(handle, name)
                if data.draw(st.booleans(), label="filled"):
                    self.define(handle, name, key, "text")
                    self.write(handle, name, key, 0, self.cells(data, CHUNK + 1))
        elif name not in shown:
            with pytest.raises(KeyError):
                handle.store.open_dataset(name)
        elif what == "delete":
            self.delete(handle, name)
        elif what == "define":
            if key in shown[name].arrays:
                with pytest.raises(FileExistsError):
                    handle.store.open_dataset(name).define_array(key, "int64", ["x"], [1])
            else:
                self.define(handle, name, key, data.draw(st.sampled_from(sorted(FILLS)), label="kind"))
        elif what == "set":
            attribute, value = ATTRIBUTES[key], data.draw(st.sampled_from(VALUES), label="value")
            handle.store.open_dataset(name).set_attribute(attribute, value)
            where, held = self.own(handle, name)
            where[name] = replace(held, attributes=held.attributes | {attribute: value})
        elif what == "unset":
            self.unset(handle, name, ATTRIBUTES[key])
        elif key not in shown[name].arrays:
            assert handle.store.open_dataset(name).read_array(key) is None
        elif what == "drop":
            self.drop(handle, name, key)
        else:
            start = data.draw(st.integers(0, LENGTH - 1), label="start")
            count = data.draw(st.integers(1, LENGTH - start), label="count")
            self.write(handle, name, key, start, self.cells(data, count))

    def delete(self, handle, name):
        pending, held = handle.pending, self.shown(handle)[name]
        handle.store.delete_dataset(name)
        if pending.created.pop(name, None) is None:
            pending.deleted[name] = held.identity
        pending.changed.pop(name, None)
        pending.forget(held.identity)
        pending.edited = True

    def drop(self, handle, name, key):
        handle.store.open_dataset(name).delete_array(key)
        where, held = self.own(handle, name)
        handle.pending.forget(held.identity, held.arrays[key].token)
        where[name] = replace(held, arrays={other: array for other, array in held.arrays.items() if other != key})

    def unset(self, handle, name, key):
        view = handle.store.open_dataset(name)
        if key not in self.shown(handle)[name].attributes:
            with pytest.raises(KeyError):
                view.delete_attribute(key)
            return
        view.delete_attribute(key)
        where, held = self.own(handle, name)
        where[name] = replace(held, attributes={at: value for at, value in held.attributes.items() if at != key})

    # Rules

    def a_handle(self, data):
        return self.handles[data.draw(st.integers(0, len(self.handles) - 1), label="handle")]

    @rule(
        data=st.data(),
        changes=st.lists(
            st.tuples(st.sampled_from(CHANGES), st.sampled_from(NAMES), st.sampled_from(ARRAYS)), min_size=1, max_size=3
        ),
    )
    def some_changes(self, data, changes):
        handle = self.a_handle(data)
        for what, name, key in changes:
            self.change(data, handle, what, name, key)

    races = rule(
        data=st.data(),
        whats=st.one_of(
            st.sampled_from(CHANGES).map(lambda what: [what, what]),
            st.lists(st.sampled_from(CHANGES), min_size=2, max_size=4),
        ),
        name=st.sampled_from(NAMES),
        key=st.sampled_from(ARRAYS),
        fresh=st.booleans(),
        again=st.booleans(),
    )

    @races
    def race(self, data, whats, name, key, fresh, again):
        """Two handles change the same, one after the other, and both flush."""
        first, second = data.draw(st.permutations(self.handles), label="handles")[:2]
        if fresh:
            self.refresh_now(first)
            self.refresh_now(second)
        for at, what in enumerate(whats):
            self.change(data, (first, second)[at % 2], what, name, key)
        self.flush_now(first)
        landed = self.flush_now(second)
        if again and not landed and self.refresh_now(second):
            assert self.flush_now(second)
        self.compare(second)
        self.compare_latest()

    @races
    def race_once_more(self, **drawn):
        """So that there are as many of them as of everything else that moves handles."""
        self.race(**drawn)

    # What collides

    def unknown(self, handle):
        """Whether it cannot be told what others have written since: they rolled back, or commits are gone."""
        later = self.versions[handle.version + 1 :]
        return handle.version + 1 < self.oldest or any(version.action == "rollback" for version in later)

    def collisions(self, handle):
        """What a flush on top of the latest version must refuse: names of datasets, with an array or None."""
        pending, base, tip = handle.pending, self.versions[handle.version].state, self.versions[-1].state
        found = self.gone(handle)
        for name in pending.created:
            if name in tip and tip[name].identity != pending.deleted.get(name):
                found.add((name, None))
        for name, mine in pending.changed.items():
            before, theirs = base[name], tip.get(name)
            if theirs is not None and theirs.identity == mine.identity:
                three = (tokens(some.arrays) for some in (before, mine, theirs))
                found |= {(name, key) for key in collide(*three)}
                if collide(before.attributes, mine.attributes, theirs.attributes):
                    found.add((name, None))
        for name, identity in pending.deleted.items():
            before, theirs = base[name], tip.get(name)
            if theirs is not None and theirs.identity == identity:
                pairs = [(some.attributes, tokens(some.arrays)) for some in (before, theirs)]
                if any(list(a) != list(b) or changes_of(a, b) for a, b in zip(*pairs, strict=True)):
                    found.add((name, None))
        names = {held.identity: name for name, held in base.items()}
        removed = {
            (mine.identity, key)
            for name, mine in pending.changed.items()
            for key, array in base[name].arrays.items()
            if key not in mine.arrays or mine.arrays[key].token != array.token
        }
        if self.unknown(handle):
            found |= {(names[identity], key) for identity, key in removed}
            found |= {(name, None) for name in pending.deleted}
            found |= {(names[chunk[0]], self.key_of(handle, chunk)) for chunk in pending.chunks() if chunk[0] in names}
            return found
        theirs = {entry for version in self.versions[handle.version + 1 :] for entry in version.wrote}
        for identity, token, chunk, key in theirs:
            if identity in names and (
                (identity, token, chunk) in pending.chunks()
                or (identity, key) in removed
                or identity in pending.deleted.values()
            ):
                found.add((names[identity], key))
        return found

    def gone(self, handle):
        """What is pending of what others have deleted."""
        pending, base, tip = handle.pending, self.versions[handle.version].state, self.versions[-1].state
        there = {held.identity: held for held in tip.values()}
        found = {(name, None) for name, mine in pending.changed.items() if mine.identity not in there}
        for name, before in base.items():
            for key, array in before.arrays.items():
                if pending.written.get((before.identity, array.token)):
                    theirs = there.get(before.identity)
                    if theirs is None:
                        found.add((name, None))
                    elif key not in theirs.arrays or theirs.arrays[key].token != array.token:
                        found.add((name, key))
        return found

    def key_of(self, handle, chunk):
        """Name of the array that a pending chunk is of."""
        shown = self.shown(handle).values()
        return next(
            key for held in shown for key, array in held.arrays.items() if (held.identity, array.token) == chunk[:2]
        )

    # Moving and landing

    def rebased(self, handle):
        """What is pending as changes of the latest version, in which nothing that it changes is gone."""
        pending, base, tip = handle.pending, self.versions[handle.version].state, self.versions[-1].state
        out = Pending()
        out.created, out.edited = dict(pending.created), pending.edited
        there = {held.identity for held in tip.values()}
        out.written = {
            key: cells
            for key, cells in pending.written.items()
            if key[0] in there | {held.identity for held in pending.created.values()}
        }
        out.deleted = {name: identity for name, identity in pending.deleted.items() if identity in there}
        out.deleted |= {name: tip[name].identity for name in pending.created if name in tip}
        for name, mine in pending.changed.items():
            theirs = tip[name]
            own = tokens(base[name].arrays), tokens(mine.arrays), tokens(theirs.arrays)
            arrays = {
                key: theirs.arrays[key] if same(token, own[2].get(key)) else mine.arrays[key]
                for key, token in laid_over(*own).items()
            }
            attributes = laid_over(base[name].attributes, mine.attributes, theirs.attributes)
            out.changed[name] = Held(mine.identity, arrays, attributes)
        return out

    def land(self, handle):
        """Note that what is pending has become the next version."""
        pending = self.rebased(handle)
        state, wrote = pending.on(self.versions[-1].state), set()
        for name, held in state.items():
            arrays = {}
            for key, array in held.arrays.items():
                cells = pending.written.get((held.identity, array.token), {})
                chunks = {at // CHUNK for at in cells}
                arrays[key] = replace(array, chunks=array.chunks | chunks)
                wrote |= {(held.identity, array.token, chunk, key) for chunk in chunks}
            state[name] = replace(held, arrays=arrays)
        self.versions.append(Version("flush", state, frozenset(wrote)))
        handle.version, handle.pending = self.latest, Pending()

    def flush_now(self, handle, flush=None):
        """Flush, or do what begins with a flush, and return whether it landed or found nothing to commit."""
        flush = handle.store.flush if flush is None else flush
        expected = set()
        if handle.version != self.latest and handle.pending:
            expected = self.collisions(handle)
        refused = None
        try:
            flush()
        except ConflictError as error:
            refused = error.collisions
        if refused is not None:
            assert refused
            assert set(refused) == expected
            assert len(set(refused)) == len(refused)
            self.compare(handle)
            self.compare_latest()
            return False
        assert not expected, f"landed beside {expected}"
        if handle.pending:
            self.land(handle)
        handle.pending = Pending()
        return True

    @rule(data=st.data())
    def flush(self, data):
        handle = self.a_handle(data)
        if self.flush_now(handle):
            self.compare(handle)

    @rule(data=st.data())
    def refresh(self, data):
        handle = self.a_handle(data)
        self.refresh_now(handle)
        self.compare(handle)

    def refresh_now(self, handle):
        """Refresh and return whether that moved the handle, which it may not where what it changed is gone."""
        gone = self.gone(handle) if handle.version != self.latest else set()
        if gone:
            with pytest.raises(ConflictError) as caught:
                handle.store.refresh()
            assert set(caught.value.collisions) == gone
            return False
        assert handle.store.refresh() == self.latest
        if handle.version != self.latest:
            handle.pending = self.rebased(handle)
        handle.version = self.latest
        return True

    @rule(data=st.data(), back=st.integers(0, 5), ready=st.booleans())
    def rollback(self, data, back, ready):
        handle = self.a_handle(data)
        if ready and self.refresh_now(handle):
            self.flush_now(handle)
            self.compare(handle)
        target = max(0, handle.version + 1 - back)
        if handle.pending:
            with pytest.raises(InvalidValueError, match="flush them first"):
                handle.store.rollback(target)
        elif not self.oldest <= target <= handle.version:
            with pytest.raises((VersionNotFoundError, InvalidValueError)) as caught:
                handle.store.rollback(target)
            assert isinstance(caught.value, VersionNotFoundError) or handle.pending.edited
        elif handle.version != self.latest:
            with pytest.raises((ConflictError, InvalidValueError)) as caught:
                handle.store.rollback(target)
            assert isinstance(caught.value, ConflictError) or handle.pending.edited
        else:
            try:
                made = handle.store.rollback(target)
            except InvalidValueError:
                assert handle.pending.edited
                return
            self.versions.append(Version("rollback", self.versions[target].state))
            handle.version = self.latest
            handle.pending = Pending()
            assert made == self.latest
        self.compare(handle)
        self.compare_latest()

    @rule(data=st.data(), keep=st.sampled_from([1, 2, 5, None]))
    def compact(self, data, keep):
        handle = self.a_handle(data)

        def compact():
            handle.store.compact(**({} if keep is None else {"keep_versions": keep, "keep_days": 0}))

        if not self.flush_now(handle, compact):
            return
        if handle.store.version > self.latest:  # whether there is anything to be done depends on how data lie
            self.versions.append(Version("compact", self.versions[-1].state))
        if keep is not None:
            self.oldest = max(self.oldest, self.latest - keep + 1)
        handle.version = self.latest
        self.compare(handle)
        self.compare_latest()

    @rule(data=st.data(), back=st.integers(-1, 6))
    def open_version(self, data, back):
        at = data.draw(st.integers(0, len(self.handles) - 1), label="handle")
        version = self.latest - back
        if self.oldest <= version <= self.latest:
            store = Atlas.open(self.source, version=version) if back else Atlas.open(self.source)
            self.handles[at] = Handle(store, version)
            self.compare(self.handles[at])
        else:
            with pytest.raises(VersionNotFoundError):
                Atlas.open(self.source, version=version)

    @rule(data=st.data(), how=st.sampled_from(["reads", "travels", "history"]))
    def look(self, data, how):
        handle = self.a_handle(data)
        if how == "reads":
            self.compare(handle)
        elif how == "history":
            self.tell_history(handle)
        elif self.picklable:
            self.travel(handle)

    def tell_history(self, handle):
        if handle.version < self.oldest:
            with pytest.raises(StaleHandleError):
                handle.store.history()
            return
        told = [(entry.version, entry.action) for entry in handle.store.history()]
        assert told == [(at, self.versions[at].action) for at in range(self.oldest, handle.version + 1)]

    def travel(self, handle):
        try:
            pickled = pickle.dumps(handle.store)
        except InvalidValueError:
            assert handle.pending.edited
            return
        assert not handle.pending
        try:
            twin = pickle.loads(pickled)
        except StaleHandleError:
            assert handle.version < self.oldest
            return
        self.compare(Handle(twin, handle.version))

    # Comparing

    def compare_latest(self):
        self.compare(Handle(Atlas.open(self.source), self.latest))

    def compare(self, handle):
        """Compare all that a handle shows; only cells and statistics of versions that are gone may be refused."""
        store, expected = handle.store, self.shown(handle)
        assert store.version == handle.version
        assert store.list_datasets() == list(expected)
        for name, held in expected.items():
            view = store.open_dataset(name)
            assert view.list_arrays() == list(held.arrays)
            found = view.attributes()
            assert list(found) == list(held.attributes)
            assert all(map(alike, found.values(), held.attributes.values())), (name, found, held.attributes)
            for key, array in held.arrays.items():
                self.compare_array(handle, view, key, held.identity, array)

    def compare_array(self, handle, view, key, identity, array):
        base = self.versions[handle.version].state.get(view.name)
        before = base.arrays.get(key) if base is not None and base.identity == identity else None
        flushed = before is not None and before.token == array.token
        try:
            cells, stats = view.read_array(key).tolist(), view.array_stats(key)
            (across,) = handle.store.read_array_across(key, [view.name], [1], [4])
        except StaleHandleError:
            assert handle.version < self.oldest
            return
        assert cells == list(array.cells), (view.name, key)
        assert across.tolist() == cells[1:5]
        assert stats == (before.stats() if flushed else None), (view.name, key)


TestHandles = Handles.TestCase
TestHandles.pytestmark = [pytest.mark.timeout(0)]
if settings.default.max_examples == 100:  # the fast profile: seconds, not minutes
    TestHandles.settings = settings(max_examples=60, stateful_step_count=40)
