"""Interrupts that wait for a moment."""

from __future__ import annotations

import signal
import threading

import pytest

from atlas.runtime.interrupts import deferred_interrupts


class StoppedError(Exception):
    pass


pytestmark = pytest.mark.usefixtures("keyboard")


@pytest.fixture
def sigterm():
    """SIGTERM raises an error."""

    def stop(*_):
        raise StoppedError

    before = signal.signal(signal.SIGTERM, stop)
    yield stop
    signal.signal(signal.SIGTERM, before)


def test_one_comes_once_the_block_is_left():
    done = []

    @deferred_interrupts()
    def work():
        signal.raise_signal(signal.SIGINT)
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]


def test_a_second_one_comes_at_once(sigterm):
    done = []

    @deferred_interrupts()
    def work():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
        with pytest.raises(StoppedError):
            signal.raise_signal(signal.SIGTERM)
        done.append(2)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1, 2]


def test_the_usual_handlers_are_back(sigterm):
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (before, sigterm)


def test_those_that_no_code_takes_are_left_alone():
    with deferred_interrupts():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_error_goes_with_it():
    @deferred_interrupts()
    def work():
        signal.raise_signal(signal.SIGINT)
        raise StoppedError

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, StoppedError)


def test_other_threads_have_none():
    before, found = signal.getsignal(signal.SIGINT), []

    def run():
        with deferred_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
