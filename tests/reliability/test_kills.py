"""Killed processes: that they are killed within commits, what their stores hold, and that what is broken is found."""

from __future__ import annotations

import os
import time

import pytest

from atlas.storage import LocalStorage
from tests.reliability import kills

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def test_killed_processes_leave_stores_as_before_or_as_after():
    figures = kills.run(full=False)
    assert figures["kills"] >= 25
    assert figures["within a commit"] > 0
    assert figures["commits acknowledged"] > 0


def write_in_two_steps(self, key, parts):
    """What `LocalStorage.write` would be without a temporary file."""
    path = self.path / key
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(bytes(part) for part in parts)
    path.write_bytes(data[: len(data) // 2])
    time.sleep(0.003)
    path.write_bytes(data)
    return len(data)


def create_in_two_steps(self, key, data):
    write_in_two_steps(self, key, [data])
    return True


def create_later(self, key, data):
    """A commit that is acknowledged and not there."""
    return True


@pytest.mark.parametrize("broken", [create_in_two_steps, create_later])
def test_what_is_broken_on_purpose_is_found(broken):
    assert LocalStorage.create is not broken
    with pytest.raises(Exception, match=r"damaged|has left other than|ended by itself"):
        kills.run(full=True, changes={"atlas.storage.local.LocalStorage.create": broken})
