"""Holds back interrupts of the user for a moment, while the handle and the store must move together."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["deferred_interrupts"]


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the block is left, where Python code takes them; a second one does not wait.

    Does nothing outside of the main thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual: dict[int, Callable[[int, FrameType | None], object]] = {}
    waiting: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if waiting:
            usual[number](number, frame)
        waiting.append((number, frame))

    for held in (signal.SIGINT, signal.SIGTERM):
        taken = signal.getsignal(held)
        if callable(taken):
            usual[held] = taken
            signal.signal(held, hold)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        if waiting:
            number, frame = waiting[0]
            usual[number](number, frame)
