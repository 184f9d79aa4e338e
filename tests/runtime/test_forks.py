"""What a forked child begins anew."""

from __future__ import annotations

import ast
import gc
import os
import signal
import sys
import threading
import weakref
from pathlib import Path

import pytest

from atlas.runtime import forks
from atlas.runtime.forks import hold_over_forks, renew_in_children
from atlas.runtime.locks import ForkSafeLock, Gate

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


class Owner:
    """Notes in which order it was renewed among others."""

    def __init__(self, renewed, error=None):
        self.renewed, self.error = renewed, error
        renew_in_children(self)

    def renew(self):
        self.renewed.append(self)
        if self.error is not None:
            raise self.error


def passes_in_child(check):
    """Whether `check` returns True in a forked child, within a few seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_owners_are_renewed_in_children_only_and_in_order():
    renewed = []
    owners = [Owner(renewed) for _ in range(3)]
    assert passes_in_child(lambda: renewed == owners)
    assert renewed == []


def test_a_fork_waits_for_a_lock_that_is_held_over_it():
    lock, has_it, steps = threading.RLock(), threading.Event(), []
    hold_over_forks(lock)

    def work():
        with lock:
            has_it.set()
            steps.append("begun")
            threading.Event().wait(0.1)
            steps.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    has_it.wait()
    assert passes_in_child(lambda: steps == ["begun", "done"] and lock.acquire(blocking=False))
    thread.join()
    assert lock.acquire(blocking=False)


def test_an_owner_is_not_kept_alive():
    renewed = []
    owner = weakref.ref(Owner(renewed))
    gc.collect()
    assert owner() is None
    assert passes_in_child(lambda: renewed == [])


def test_an_owner_that_fails_is_reported_and_keeps_none_from_being_renewed(monkeypatch):
    renewed, reported = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: reported.extend(found.exc_value.exceptions))
    error = OSError("closed already")
    owners = [Owner(renewed, error), Owner(renewed)]
    assert passes_in_child(lambda: renewed == owners and reported == [error])


def test_locks_that_are_held_are_free_in_a_child():
    lock, gate = ForkSafeLock(), Gate()

    def take_both():
        with lock, gate.closed(), gate.passing():
            return True

    with lock, gate.closed():
        assert passes_in_child(take_both)
    assert take_both()


def test_forks_are_hooked_into_once():
    """A second hook would run in an order of its own, and be one more place to look at."""
    hooks = [
        str(path.relative_to(Path(forks.__file__).parents[1]))
        for path in sorted(Path(forks.__file__).parents[1].rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "register_at_fork"
    ]
    assert hooks == ["runtime/forks.py"]
