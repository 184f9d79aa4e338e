"""Scripts: calls on a store and its model, of which it is noted which effects on the disk each has."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from atlas import Atlas
from tests.reliability.twins import Content, Twin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.model import ModelDataset
    from tests.reliability.disks import Effect, Tree
    from tests.reliability.recording import Recorder

Held: TypeAlias = "dict[str, ModelDataset]"
Play: TypeAlias = "Callable[[Script], None]"

__all__ = ["Begun", "Held", "Play", "Script", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """An operation that changes the store, and the effects in the course of it."""

    what: str
    begin: int
    end: int
    before: list[Content | None]
    after: Content | None


@dataclass(frozen=True, slots=True)
class Begun:
    """What a script goes on with."""

    effects: Sequence[Effect] = ()
    """What was done to the disk; what of it has lasted is as uncertain as ever."""
    tree: Tree = field(default_factory=dict)
    """What there is of it."""
    held: Held | None = None
    """What the store in it holds, if there is one."""
    allowed: list[Content | None] = field(default_factory=lambda: [None])
    """What may still become of that after a power cut."""


class Script(Twin):
    """Calls on a store and its model; those that change the store are the steps whose crashes are enumerated."""

    def __init__(self, place: Path, recorder: Recorder, begun: Begun | None = None) -> None:
        super().__init__(None)
        self.place = place
        """Where the store lies."""
        self.steps: list[Step] = []
        """Operations so far."""
        self.first = len(recorder.effects)
        """Effects before which no crash is of interest."""
        self.known: dict[Content, Held] = {}
        """The model of everything that the store has held."""
        self._versions: dict[int, Held] = {}
        self._recorder = recorder
        begun = begun or Begun()
        if begun.held is not None:
            self.store = Atlas.open(place)
            self.become(begun.held)
            self._know()
        self._begun = self._held = begun.allowed

    def _know(self) -> Content:
        held = self.flushed()
        self.known[held] = self.model.flushed
        return held

    def from_here(self) -> None:
        """Enumerate crashes from here on: what came before is another script's."""
        self.first = len(self._recorder.effects)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Note an operation that changes the store."""
        begin, before = len(self._recorder.effects), self._held
        yield
        after = self._know()
        self._held = [after]
        if self.store is not None:
            self._versions[self.store.version] = self.model.flushed
        self.steps.append(Step(what, begin, len(self._recorder.effects), before, after))

    def create(self, **options: Any) -> None:
        """Create the store, or another in its place."""
        with self.step("create"):
            self.store = Atlas.create(self.place, **options)
            self.become({})

    def open(self) -> Atlas:
        """Go on with a new handle, and return the one before."""
        assert self.store is not None
        before, self.store = self.store, Atlas.open(self.place)
        return before

    def rollback(self, version: int) -> None:
        """Go back to what a version held."""
        assert self.store is not None
        with self.step("rollback"):
            self.become(self._versions[version])
            self.store.rollback(version)

    def allowed(self, at: int) -> tuple[str, list[Content | None]]:
        """When a crash after `at` effects comes, within an operation or between two, and what it may leave."""
        when, held = "before the first operation", self._begun
        for step in self.steps:
            if at <= step.begin:
                break
            if at < step.end:
                return f"within {step.what}", [*step.before, step.after]
            when, held = f"after the end of {step.what}", [step.after]
        return when, held
