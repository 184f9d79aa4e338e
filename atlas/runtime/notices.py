"""Tells people at a terminal what they wait for and did not ask for. Scripts and notebooks are told nothing."""

from __future__ import annotations

import sys

__all__ = ["Notice"]


class Notice:
    """A line that is shown once in a process, on stderr and only where that is a terminal."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._shown = False

    def show(self) -> None:
        """Show the line, unless it has been shown."""
        if self._shown:
            return
        self._shown = True
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"{self._text}\n")
            sys.stderr.flush()
