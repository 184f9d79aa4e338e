"""Every crash of a script: each state of the disk that may be left is opened, and must be as before or as after.

A *script* makes and changes a store while a `Recorder` notes each effect on the disk. A crash may come after any of
them, and may then leave any of the states of `disks.Disk`: millions for a flush of three arrays. They are not sampled,
and need not be opened one by one either, because what a program does depends only on what it looks at:

    A `Watcher` notes which names and files were looked at while one state was opened, compared whole, written to and
    opened again. Any other state that agrees with it in those, and differs only in what was not looked at, gives the
    same result, step for step. So the states are divided by the first thing looked at in which they differ, then by
    the next, until each has been decided by one that was opened. Looking is noted generously: a name counts that was
    merely passed, a file that was merely opened.

So, for example, a segment that no commit names is not looked at, and whether its data are there decides nothing; but
where the commit is there, all it names is looked at, and thus tried in every state.

`compact` lists folders, so it looks at all names. It decides on each by itself, by whether the version on disk needs
it; so it is tried at every crash with all leftovers that there may be at once, with those that are there if all that
was done has lasted, and after every state that was opened as above.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from atlas import Atlas
from atlas.errors import StoreNotFoundError
from atlas.runtime.limits import Limits
from tests.reliability.disks import Disk, Named, Synced, Tree, Variable, build
from tests.reliability.recording import Recorder, Watcher
from tests.reliability.scripts import Begun, Script
from tests.reliability.twins import Content, Twin, content, unneeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.scripts import Held, Play

__all__ = ["AXIS", "Broken", "Figures", "enumerate_crashes", "memory_folder"]

AXIS = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
"""A coordinate `x` that what is written after a crash has in common with what scripts write."""
_PLACE = "above/store"
"""Where the store lies in the folder that is recorded."""


class Broken(AssertionError):
    """A crash after which the store is neither as before nor as after, or not in order."""


def memory_folder() -> str | None:
    """A folder in memory for temporary files, where the system has one: campaigns wait for no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass(slots=True)
class Figures:
    """What was enumerated."""

    operations: int = 0
    """Operations that crashes cut off."""
    points: int = 0
    """Moments of crashes: each effect is one."""
    states: int = 0
    """States of the disk, counted once for each moment."""
    opened: int = 0
    """Distinct states that were opened, compared and written to."""

    def add(self, other: Figures) -> None:
        """Add up."""
        self.operations += other.operations
        self.points += other.points
        self.states += other.states
        self.opened += other.opened


def enumerate_crashes(
    play: Play, limits: dict[str, int], after_crashes: Play | None = None, after_kills: Play | None = None
) -> Figures:
    """Play a script with the given fields of `Limits` changed; raise `Broken` for the first crash that loses.

    Further scripts are played after each, and the crashes in the course of them are enumerated as well: one after
    each state that a crash leaves, and one after each effect, where the process was killed and nothing was lost yet.
    """
    with tempfile.TemporaryDirectory(prefix="crashes-", dir=memory_folder()) as folder, ExitStack() as patches:
        patches.enter_context(mock.patch("atlas.runtime.limits.DEFAULT", Limits(**limits)))
        first = _play(play, Path(folder, "first"), Begun())
        figures = first.run()
        further = [(after_crashes, begun) for begun in first.crashed()] if after_crashes else []
        further += [(after_kills, begun) for begun in first.killed()] if after_kills else []
        for then, begun in further:
            figures.add(_play(then, Path(folder, "second"), begun).run())
            shutil.rmtree(Path(folder, "second"))
        return figures


def _play(play: Play, folder: Path, begun: Begun) -> _Enumeration:
    world = folder / "recorded"
    world.mkdir(parents=True)
    build(begun.tree, world)
    recorder = Recorder(world, begun.effects)
    with recorder.recording():
        script = Script(world / _PLACE, recorder, begun)
        play(script)
    return _Enumeration(script, list(recorder.effects), folder)


@dataclass(frozen=True, slots=True)
class _Outcome:
    tree: Tree
    held: Content | None
    watcher: Watcher


class _Enumeration:
    def __init__(self, script: Script, effects: list[Any], folder: Path) -> None:
        self.script = script
        self._effects = effects
        self._folder = folder
        self._outcomes: dict[bytes, _Outcome] = {}
        self._swept: dict[bytes, Content | None] = {}
        self._labels: dict[int, str] = {0: ""}
        self._figures = Figures(sum(step.end > script.first for step in script.steps))

    def run(self) -> Figures:
        disk = Disk()
        for at in range(len(self._effects) + 1):
            if at:
                self._label(self._effects[at - 1])
                disk.apply(self._effects[at - 1])
            if at < self.script.first:
                continue
            self._figures.points += 1
            self._figures.states += disk.combinations()
            for chosen, held in self._all_held(disk):
                if held not in self.script.allowed(at)[1]:
                    raise Broken(self._tell(chosen, f"the store holds {_brief(held)}"))
        self._figures.opened = len(self._outcomes) + len(self._swept)
        return self._figures

    def crashed(self) -> Iterator[Begun]:
        """Each state that was opened, as all there is."""
        for outcome in self._outcomes.values():
            yield Begun((), outcome.tree, self._model(outcome.held), [outcome.held])

    def killed(self) -> Iterator[Begun]:
        """What the next process finds after each effect, as uncertain as it is."""
        disk = Disk()
        for at, effect in enumerate(self._effects, 1):
            disk.apply(effect)
            if at >= self.script.first:
                tree = disk.tree({})[0]
                held = self._open(tree, disk, {}).held
                yield Begun(self._effects[:at], tree, self._model(held), self.script.allowed(at)[1])

    def _model(self, held: Content | None) -> Held | None:
        return None if held is None else self.script.known[held]

    def _all_held(self, disk: Disk) -> Iterator[tuple[dict[Variable, Any], Content | None]]:
        """Decide every state of the disk: yield what was chosen for one that was opened, and what it held."""
        waiting: list[dict[Variable, Any]] = [{}]
        while waiting:
            chosen = waiting.pop()
            tree, numbers = disk.tree(chosen)
            outcome = self._open(tree, disk, chosen)
            yield chosen, outcome.held
            decided = dict(chosen)
            for variable in _looked_at(outcome.watcher, disk, numbers):
                if variable in decided:
                    continue
                newest, *others = disk.options(variable)
                waiting += [{**decided, variable: other} for other in others]
                decided[variable] = newest
        for chosen in ({}, _all_there(disk)):
            yield chosen, self._sweep(disk.tree(chosen)[0], disk, chosen)

    def _open(self, tree: Tree, disk: Disk, chosen: dict[Variable, Any]) -> _Outcome:
        digest = _digest(tree)
        if digest not in self._outcomes:
            with self._built(tree, disk, chosen) as place:
                watcher = Watcher(self._folder / "left")
                with watcher.watching():
                    held = _held(place)
                    _write_more(place, held)
                _compact(place)
            self._outcomes[digest] = _Outcome(tree, held, watcher)
        return self._outcomes[digest]

    def _sweep(self, tree: Tree, disk: Disk, chosen: dict[Variable, Any]) -> Content | None:
        digest = _digest(tree)
        if digest not in self._swept:
            with self._built(tree, disk, chosen) as place:
                held = _held(place)
                if held is not None:
                    _compact(place)
                    assert _held(place) == held, "compact() changed what the store holds"
                _write_more(place, held)
            self._swept[digest] = held
        return self._swept[digest]

    @contextmanager
    def _built(self, tree: Tree, disk: Disk, chosen: dict[Variable, Any]) -> Iterator[Path]:
        world = self._folder / "left"
        world.mkdir()
        build(tree, world)
        try:
            yield world / _PLACE
        except Exception as error:
            raise Broken(self._tell(chosen, f"{type(error).__name__}: {error}")) from error
        finally:
            shutil.rmtree(world)

    # What is said of a crash

    def _label(self, effect: Any) -> None:
        if isinstance(effect, Named):
            for name, number in effect.changes.items():
                if number is not None:
                    self._labels[number] = f"{self._labels[effect.folder]}/{name}"

    def _describe(self, effect: Any) -> str:
        if isinstance(effect, Named):
            return f"names in {self._labels[effect.folder] or '/'}: {effect.changes}"
        if isinstance(effect, Synced):
            return f"synchronised {self._labels.get(effect.number, effect.number)}"
        return f"wrote {len(effect.data)} bytes to {self._labels.get(effect.file, effect.file)}"

    def _tell(self, chosen: dict[Variable, Any], result: str) -> str:
        at = self.script.first + self._figures.points - 1
        when = self.script.allowed(at)[0]
        effects = "\n".join(f"  {self._describe(effect)}" for effect in self._effects[max(at - 12, 0) : at])
        left = "\n".join(
            f"  {self._labels.get(variable[0])}/{variable[1]}: {value}"
            if isinstance(variable, tuple)
            else f"  data of {self._labels.get(variable, variable)}: {len(value)} bytes, {value[:16]!r} …"
            for variable, value in chosen.items()
        )
        return (
            f"a crash {when}, {at} of {len(self._effects)} effects done: {result}\n"
            f"last effects:\n{effects}\nleft otherwise than as the newest:\n{left}"
        )


def _looked_at(watcher: Watcher, disk: Disk, numbers: dict[str, int]) -> list[Variable]:
    """What a power cut may have decided of that which was looked at, folders before what is in them."""
    found: dict[Variable, None] = {}
    for path in sorted(watcher.seen, key=lambda path: path.count("/")):
        above = ""
        for name in path.split("/"):
            folder = numbers.get(above)
            if folder is None or folder not in disk.names:
                break
            found[folder, name] = None
            above = f"{above}/{name}" if above else name
        if path in watcher.read and numbers.get(path) in disk.data:
            found[numbers[path]] = None
        if path in watcher.listed and numbers.get(path) in disk.names:
            found |= dict.fromkeys((numbers[path], name) for name in disk.names[numbers[path]])
    return [variable for variable in found if len(disk.options(variable)) > 1]


def _all_there(disk: Disk) -> dict[Variable, Any]:
    """The choice by which every name is there that may be there."""
    names = [(folder, name) for folder, names in disk.names.items() for name in names]
    return {
        name: next((number for number in disk.options(name) if number is not None), None)
        for name in names
        if len(disk.options(name)) > 1
    }


def _digest(tree: Tree) -> bytes:
    digest = hashlib.blake2b()
    for path in sorted(tree):
        data = tree[path]
        digest.update(f"{len(path)}:{path}:{-1 if data is None else len(data)}:".encode())
        digest.update(data or b"")
    return digest.digest()


def _held(place: Path) -> Content | None:
    try:
        store = Atlas.open(place)
    except StoreNotFoundError:
        return None
    numbers = [version.version for version in store.history()]
    if len(numbers) <= numbers[-1] - numbers[0]:  # thinned: what is listed can be opened
        for number in numbers:
            content(Atlas.open(place, version=number))
    return content(store)


def _write_more(place: Path, held: Content | None) -> None:
    """Write to what a crash has left, as its owner will."""
    more = Twin(Atlas.create(place) if held is None else Atlas.open(place))
    more.dataset("later", number=1)
    more.array("later", "t", np.arange(5, dtype=np.int32))
    more.coordinate("later", "x", AXIS)
    more.flush()
    found, names = more.flushed()
    before, names_before = held or ((), ())
    expected = (before + found, tuple(sorted({*names, *names_before})))
    assert content(Atlas.open(place)) == expected, "what was written after the crash does not add up"


def _compact(place: Path) -> None:
    store = Atlas.open(place)
    store.compact(keep_days=0)
    left = unneeded(store, place)
    assert not left, f"compact() left {left}"


def _brief(held: Content | None) -> str:
    return "no store" if held is None else f"{len(held[0])} datasets: {[entry[0] for entry in held[0]]}"
