"""What memory is at hand, and the refusal of what exceeds it: before anything of that size is touched.

A file may declare an array of petabytes in a few bytes. Whatever grows with what a file or a caller declares is asked
for here first; up to `FREE` bytes nothing is looked up. The standard library only.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from typing import Final

from atlas.errors import TooLargeError

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["FREE", "available_memory", "check_room"]

FREE: Final = 64 << 20
"""Bytes for which memory is not looked up, which takes some 100 us; to fill so many takes 100 times as long."""
_UNLIMITED: Final = 1 << 60
"""Groups without a limit of memory report numbers from about here on."""


def check_room(nbytes: int, what: str, remedy: str) -> None:
    """Raise `TooLargeError` where `what`, of `nbytes` bytes, exceeds the memory at hand; `remedy` says what to do."""
    if nbytes <= FREE:
        return
    available = available_memory()
    if nbytes > available:
        raise TooLargeError(
            f"{what} takes {nbytes} bytes and there are {available} bytes of memory at hand; {remedy}",
            asked=nbytes,
            available=available,
        )


def available_memory() -> int:
    """Return how many bytes this process may still take: of the machine, of its group, within its own limits."""
    limits = [sys.maxsize, _of_machine(), *_of_groups(), *_of_process()]
    return max(0, min(limit for limit in limits if limit is not None))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - on the way of every large read
            return file.read()
    except (OSError, ValueError):
        return ""


def _of_machine() -> int | None:
    """Return the bytes that can be had without swapping, where the system tells; else all its memory."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    if match is not None:
        return int(match.group(1)) << 10
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


@cache
def _limited_groups() -> list[tuple[str, str, str]]:
    """Return folder and files (limit and use) of the control groups with a limit that this process began in."""
    found = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        root, most, used = (
            ("/sys/fs/cgroup", "memory.max", "memory.current")
            if not controllers
            else ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        # Within a container the path may be that of the host, and what counts lies at the root.
        parts = [part for part in path.split("/") if part not in {"", ".."}]
        for depth in range(len(parts), -1, -1):
            folder = "/".join([root, *parts[:depth]])
            limit = _read(f"{folder}/{most}").strip()
            if limit.isdecimal() and int(limit) < _UNLIMITED:
                found.append((folder, most, used))
    return found


def _of_groups() -> list[int]:
    """Return the bytes left to the control groups of this process, those above it included."""
    left = []
    for folder, most, used in _limited_groups():
        limit, current = _read(f"{folder}/{most}").strip(), _read(f"{folder}/{used}").strip()
        if limit.isdecimal() and current.isdecimal():
            # Pages of files that were read count as used and are given up when memory is asked for.
            cached = re.search(r"^(?:total_)?inactive_file (\d+)", _read(f"{folder}/memory.stat"), re.MULTILINE)
            left.append(int(limit) - int(current) + (int(cached.group(1)) if cached else 0))
    return left


def _of_process() -> list[int]:
    """Return the bytes left within the limits that are set for this process."""
    left = []
    for name, field in (("RLIMIT_AS", 0), ("RLIMIT_DATA", 5)):
        limit = resource.getrlimit(getattr(resource, name))[0] if hasattr(resource, name) else -1
        if 0 <= limit < _UNLIMITED:
            pages = _read("/proc/self/statm").split()
            used = int(pages[field]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > field else 0
            left.append(limit - used)
    return left
