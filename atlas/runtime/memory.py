"""How much memory is available, and the refusal of what exceeds it, before any of it is allocated.

A file may declare an array of petabytes in a few bytes. So every size that a file or a caller declares is checked here
first; up to `FREE` bytes nothing is looked up. Reserves nothing: another thread may take the memory after the check.
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
"""Bytes up to which memory is not looked up. A look-up takes some 100 us, filling them 100 times as long."""
_UNLIMITED: Final = 1 << 60
"""Control groups and resource limits report numbers from about here on if there is no limit."""


def check_room(nbytes: int, what: str, remedy: str) -> None:
    """Raise `TooLargeError` if `what`, of `nbytes` bytes, exceeds the available memory; `remedy` says what to do."""
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
    """Return how many bytes this process may still allocate: on the machine, in its group, within its own limits."""
    limits = [sys.maxsize, _of_machine(), *_of_groups(), *_of_process()]
    return max(0, min(limit for limit in limits if limit is not None))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - part of every large read
            return file.read()
    except (OSError, ValueError):
        return ""


def _of_machine() -> int | None:
    """Return the bytes that are available without swapping, or all memory where the system does not tell."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    if match is not None:
        return int(match.group(1)) << 10
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


@cache
def _limited_groups() -> list[tuple[str, str, str]]:
    """Return folder, limit file and usage file of each limited control group that this process started in."""
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
        # In a container the path may be the host's, and the limit that counts lies at the root.
        parts = [part for part in path.split("/") if part not in {"", ".."}]
        for depth in range(len(parts), -1, -1):
            folder = "/".join([root, *parts[:depth]])
            limit = _read(f"{folder}/{most}").strip()
            if limit.isdecimal() and int(limit) < _UNLIMITED:
                found.append((folder, most, used))
    return found


def _of_groups() -> list[int]:
    """Return the bytes left to each control group of this process, parents included."""
    left = []
    for folder, most, used in _limited_groups():
        limit, current = _read(f"{folder}/{most}").strip(), _read(f"{folder}/{used}").strip()
        if limit.isdecimal() and current.isdecimal():
            # Cached pages of files count as used, and the kernel drops them when memory is needed.
            cached = re.search(r"^(?:total_)?inactive_file (\d+)", _read(f"{folder}/memory.stat"), re.MULTILINE)
            left.append(int(limit) - int(current) + (int(cached.group(1)) if cached else 0))
    return left


def _of_process() -> list[int]:
    """Return the bytes left within each resource limit of this process."""
    left = []
    for name, field in (("RLIMIT_AS", 0), ("RLIMIT_DATA", 5)):
        limit = resource.getrlimit(getattr(resource, name))[0] if hasattr(resource, name) else -1
        if 0 <= limit < _UNLIMITED:
            pages = _read("/proc/self/statm").split()
            used = int(pages[field]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > field else 0
            left.append(limit - used)
    return left
