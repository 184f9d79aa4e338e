"""Ends a process whose test hangs where pytest-timeout cannot end it: in C code that keeps the GIL or never returns.

pytest-timeout fails a test through Python code, which such a test does not let run. So at twice the timeout a thread of
`faulthandler`, which needs no GIL, prints where all threads are and ends the process. pytest-xdist counts the test as
failed and goes on in a new process.
"""

from __future__ import annotations

import faulthandler
import os
from functools import partial

import pytest

__all__ = ["pytest_configure", "pytest_timeout_cancel_timer", "pytest_timeout_set_timer"]

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the stderr of the process, which a test does not have: what it prints is captured."""
    config.stash[_STDERR] = os.dup(2)
    config.add_cleanup(partial(os.close, config.stash[_STDERR]))


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item, settings):
    """Start the timer that ends the process, beside the one of pytest-timeout."""
    faulthandler.dump_traceback_later(2 * settings.timeout, exit=True, file=item.config.stash[_STDERR])
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_cancel_timer(item):
    """Stop it."""
    faulthandler.cancel_dump_traceback_later()
    return (yield)
