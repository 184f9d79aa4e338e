"""Random lives of a store: the same seed and the same model always take the same course, with or without a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.runtime.limits import Limits

if TYPE_CHECKING:
    import random

    from tests.reliability.twins import Twin

__all__ = ["LIMITS", "act"]

LIMITS = Limits(
    raw_bytes=400, checked_bytes=100, encoded_bytes=1000, digested_bytes=8, joined_at_once=2, few_commits=2, page_rows=3
)  # fmt: skip
"""Limits of atlas by which few small arrays go the ways of many large ones."""
_MOST = 12
"""Datasets that there are at once."""
_REMEMBERED = 4
"""Flushes that are gone back to."""


def act(rng: random.Random, twin: Twin, prefix: str = "", *, alone: bool = True) -> None:
    """Take the next step of a life: a change of what is pending, or a commit. Datasets are named with `prefix`.

    Who is not `alone` undoes nothing that others do.
    """
    datasets = twin.model.datasets
    filled = [(name, array) for name, dataset in datasets.items() for array in dataset.arrays]
    kind = rng.choices(
        ["flush", "compact", "go back", "refresh", "dataset", "array", "write", "attribute", "drop array", "drop"],
        [25, 4, 4, 3, 14, 20, 18, 8, 4, 7],
    )[0]
    if kind == "flush":
        twin.flush(f"{prefix}{rng.randrange(10**12)}")
        for message in list(twin.named)[:-_REMEMBERED]:
            del twin.named[message]
    elif kind == "compact":
        twin.compact(keep_versions=rng.randrange(1, 4), keep_days=rng.choice([0, 1]) if alone else 1)
    elif kind == "go back":
        if alone and twin.named and not twin.model.pending:
            twin.go_back(rng.choice(list(twin.named)))
    elif kind == "refresh":
        twin.refresh()
    elif kind == "dataset" or not datasets:
        name = f"{prefix}{rng.randrange(10**9)}"
        if len(datasets) < _MOST and name not in datasets:
            twin.dataset(name, number=rng.randrange(10), text="ä" * rng.randrange(4))
    elif kind == "array":
        name = rng.choice(list(datasets))
        array = rng.choice("stuvwx")
        if array not in datasets[name].arrays:
            length = rng.choice([1, 7, 60, 500])
            chunk = [rng.choice([length, -(-length // 3)])]
            define = twin.coordinate if array == "x" else twin.array
            define(name, array, _cells(rng, array, length), chunk, fill=rng.choice([None, _FILLS[array]]))
    elif kind == "write" and filled:
        name, array = rng.choice(filled)
        length = datasets[name].arrays[array].shape[0]
        start = rng.randrange(length)
        twin.write(name, array, _cells(rng, array, rng.randint(1, length - start)), [start])
    elif kind == "attribute":
        twin.attributes(rng.choice(list(datasets)), **{rng.choice("abc"): rng.random()})
    elif kind == "drop array" and filled:
        twin.drop_array(*rng.choice(filled))
    elif kind == "drop":
        twin.drop(rng.choice(list(datasets)))


_FILLS = {"b": None, "o": True, "s": "none", "t": -1.0, "u": 0.0, "v": 7, "w": -1, "x": -1.0}


def _cells(rng: random.Random, array: str, length: int) -> np.ndarray:
    """Cells of the dtype that goes with the array's name: bytes, flags, texts, noise, constants, steps, an axis."""
    random = np.random.default_rng(rng.randrange(2**32))
    if array == "b":
        return np.array(
            [None if n % 7 == 0 else b"%d\xff" % n for n in random.integers(0, 99, length).tolist()], object
        )
    if array == "o":
        return random.integers(0, 2, length).astype(bool)
    if array == "s":
        return np.array([f"{n}" * (n % 5) for n in random.integers(0, 99, length).tolist()], object)
    if array == "t":
        return random.standard_normal(length).astype(np.float32)
    if array == "u":
        return np.full(length, float(random.integers(0, 3)), np.float64)
    if array == "v":
        return random.integers(0, 100, length).astype(np.int16)
    if array == "x":
        return np.arange(length) / 2 + int(random.integers(0, 2))
    return np.arange(length, dtype=np.int64) + int(random.integers(0, 1000))
