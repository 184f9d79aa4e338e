"""Killed processes: that they are killed within commits, and what their stores hold."""

from __future__ import annotations

import os

import pytest

from tests.reliability import kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_processes_leave_stores_as_before_or_as_after():
    figures = kills.run(full=False)
    assert figures["kills"] >= 25
    assert figures["within a commit"] > 0
    assert figures["commits acknowledged"] > 0
