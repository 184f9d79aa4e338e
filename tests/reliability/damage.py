"""Damaged and forged stores: what is read of them is right or refused, and nothing else ever happens.

Sound stores (`hostile.stores`) are damaged as disks and people do it (`hostile.damaging`), where every value that is
read must be the right one; and forged as an enemy would, with checksums that fit (`hostile.forging`), where values may
be others. Of neither may come a crash, an error that is no `AtlasError`, a warning, a file touched outside of
the store, more memory than there is, or more than seconds of time. Children do the reading and may die of it
(`hostile.zygote`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["run"]

FULL, QUICK = 100_000, 300
_SEED = 1
_SHARE = 5000
"""Mutants that one process judges."""


def run(full: bool) -> dict[str, int]:
    """Judge mutants; return how many there were of each kind and what came of them."""
    count = FULL if full else QUICK
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = min(_SHARE, -(-count // workers))
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(workers) as pool:
        for judged in pool.map(lambda first: _judged(first, min(first + share, count)), range(0, count, share)):
            for _, kind, outcome, _, _ in judged:
                kinds[kind] += 1
                outcomes[outcome] += 1
    assert kinds.total() == count, f"{kinds.total()} of {count} mutants were judged"
    names = {
        "refused": "refused",
        "read right": "read right",
        "read as before": "with commits lost, read as before them",
        "read": "forged and read",
    }
    return {
        "mutants": count,
        **kinds,
        **{told: outcomes[name] for name, told in names.items()},
        "wrong": 0,
        "crashed": 0,
    }


def _judged(first: int, stop: int) -> list[tuple[int, str, str, str, int]]:
    command = [sys.executable, "-m", "tests.reliability.hostile.zygote", str(_SEED), str(first), str(stop)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    judged = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    for number, kind, outcome, told, _ in judged:
        if outcome in {"failed", "crashed"}:
            again = f"python -m tests.reliability.hostile.zygote --here {_SEED} {number} {number + 1}"
            raise AssertionError(f"mutant {number} ({kind}) {outcome}; again: {again}\n{told}")
    assert done.returncode == 0, done.stderr[-4000:]
    return judged  # type: ignore[return-value]
