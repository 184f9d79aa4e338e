"""How a process that reads answers its parent: frames of bytes, and how many of them there are at most."""

from __future__ import annotations

from struct import Struct

__all__ = ["ANSWER_HEAD", "ENOUGH_BYTES"]

ANSWER_HEAD = Struct("<Q")
"""What comes before each answer, which is pickled: its bytes."""
ENOUGH_BYTES = 8 << 20
"""Bytes of answers to one request after which the others are None: it bounds what the parent holds."""
