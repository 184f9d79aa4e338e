"""Locks of a handle, and the count of changes that lets lookups go without them."""

from __future__ import annotations

import signal
import threading

import pytest

from atlas.errors import ReadOnlyError
from atlas.runtime.locks import HandleLocks


def test_changes_within_changes_are_counted():
    locks = HandleLocks()
    changes = locks.changes
    assert changes.begun == changes.ended
    with locks.changing:
        before = changes.ended
        with locks.changing:
            assert changes.begun != before
        assert changes.begun != changes.ended
    assert changes.begun == changes.ended != before
    with pytest.raises(KeyError), locks.moving:
        raise KeyError
    assert changes.begun == changes.ended


def test_a_read_only_handle_moves_and_refuses_changes():
    locks = HandleLocks(read_only=True)
    with locks.moving:
        assert locks.changes.begun != locks.changes.ended
    with pytest.raises(ReadOnlyError), locks.changing:
        pass
    assert locks.changes.begun == locks.changes.ended == 1


@pytest.mark.usefixtures("keyboard")
def test_a_handle_that_moves_is_interrupted_once_it_has_moved():
    locks, moved = HandleLocks(), []

    def move():
        with locks.moving:
            signal.raise_signal(signal.SIGINT)
            moved.append(locks.changes.begun != locks.changes.ended)

    with pytest.raises(KeyboardInterrupt):
        move()
    assert moved == [True]
    assert locks.changes.begun == locks.changes.ended


def test_locks_made_anew_are_free_in_the_middle_of_a_change():
    locks = HandleLocks()
    thread = threading.Thread(target=lambda: (locks.changing.__enter__(), locks.loading("a").acquire()))
    thread.start()
    thread.join()
    locks.renew()
    assert locks.changes.begun == locks.changes.ended
    with locks.changing, locks.loading("a"):
        assert locks.loading("a").locked()
    assert not locks.loading("a").locked()
