"""The order of datasets by their labels along one dimension, and where labels overlap or leave gaps. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Labels", "find_break", "find_order"]

_LONGER = 1.5
"""Times the median step from which a step between two datasets is a gap, where it is also the longest of all."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of datasets along one dimension, one dataset after another."""

    cells: NDArray[Any]
    """The labels."""
    keys: NDArray[Any]
    """What has their order and their steps and is compared faster: dates as numbers; else the labels."""

    def in_order(self, order: NDArray[np.int64], sizes: NDArray[np.int64]) -> Labels:
        """Return the labels of the datasets in the order of their positions; `sizes` are those before."""
        edges = np.append(0, np.cumsum(sizes))
        at = np.concatenate([np.arange(edges[row], edges[row + 1]) for row in order.tolist()])
        return Labels(self.cells[at], self.keys[at])


def find_order(dim: str, names: Sequence[str], labels: Labels, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of N datasets in the order of their labels, which lie one dataset after another.

    Labels fall where they fall in all datasets, and rise otherwise. Datasets without labels come last. Raises
    `InvalidValueError`, which names the datasets, where labels do not rise or fall throughout one, and where those of
    two overlap.
    """
    try:
        rises, falls = _compared(labels.keys)
    except TypeError as error:
        raise InvalidValueError(
            f"the labels {dim!r} have no order: {error}; sort=False puts datasets one after another as they are named"
        ) from error
    inside = np.ones(len(labels.keys), bool)
    edges = np.append(0, np.cumsum(sizes))
    inside[edges[:-1][sizes > 0]] = False
    inside = inside[1:]
    is_falling = bool(inside.any() and falls[inside].all())
    ordered = falls if is_falling else rises
    wrong = np.flatnonzero(inside & ~ordered)
    if len(wrong):
        at = int(wrong[0])
        (name,) = _owners(names, edges, at)
        raise InvalidValueError(
            f"the labels {dim!r} of dataset {name!r} do not {'fall' if is_falling else 'rise'} throughout: "
            f"{labels.cells[at]} is followed by {labels.cells[at + 1]}; sort=False takes datasets as they are named"
        )
    having = np.flatnonzero(sizes)
    firsts = labels.keys[edges[having]]
    by_label = np.argsort(firsts, kind="stable")
    by_label = by_label[::-1] if is_falling else by_label
    order = np.concatenate([having[by_label], np.flatnonzero(sizes == 0)])
    starts, ends = firsts[by_label], labels.keys[edges[having + 1] - 1][by_label]
    apart = (starts[1:] < ends[:-1]) if is_falling else (starts[1:] > ends[:-1])
    overlaps = np.flatnonzero(~np.asarray(apart, bool))
    if len(overlaps):
        at = int(overlaps[0])
        one, other = order[at], order[at + 1]
        more = f" (and {len(overlaps) - 1} more pairs overlap)" if len(overlaps) > 1 else ""
        raise InvalidValueError(
            f"the labels {dim!r} of datasets {names[one]!r} and {names[other]!r} overlap: one ends at "
            f"{labels.cells[edges[one + 1] - 1]}, the other begins at {labels.cells[edges[other]]}{more}; leave one "
            "out, take a part with isel=, or use sort=False, which takes datasets as they are named"
        )
    return order


def find_break(dim: str, names: Sequence[str], labels: Labels, sizes: NDArray[np.int64]) -> str | None:
    """Return what to tell of the labels of datasets: that they are in no order, or have a gap; None of others.

    A gap is a step between two datasets that is longer than all steps inside of datasets and 1.5 times the median step.
    Labels that are no numbers or times have no steps.
    """
    try:
        rises, falls = _compared(labels.keys)
    except TypeError:
        return None
    if not len(rises):
        return None
    edges = np.append(0, np.cumsum(sizes))
    having = np.flatnonzero(sizes)
    between = edges[having[1:]] - 1
    if not (rises.all() or falls.all()):
        at = int(np.argmin(rises | falls)) if not (rises | falls).all() else int(np.argmin(rises == rises[0]))
        one, other = _owners(names, edges, at, at + 1)
        return (
            f"the labels {dim!r} are in no order: {labels.cells[at]} of dataset {one!r} is followed by "
            f"{labels.cells[at + 1]} of dataset {other!r}; sort=True sorts datasets by them"
        )
    keys = labels.keys
    if keys.dtype.kind in "SUTb" or isinstance(keys[0], str | bytes):
        return None
    steps = np.maximum(keys[1:], keys[:-1]) - np.minimum(keys[1:], keys[:-1])
    longest = np.delete(steps, between)
    bound = np.sort(steps)[len(steps) // 2] * _LONGER
    bound = max(bound, longest.max()) if len(longest) else bound
    gaps = between[steps[between] > bound]
    if not len(gaps):
        return None
    at = int(gaps[0])
    one, other = _owners(names, edges, at, at + 1)
    more = f", and {len(gaps) - 1} more gaps" if len(gaps) > 1 else ""
    return (
        f"the labels {dim!r} have a gap between datasets {one!r}, which ends at {labels.cells[at]}, and {other!r}, "
        f"which begins at {labels.cells[at + 1]}{more}"
    )


def _compared(labels: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each label rises, and falls, to the next."""
    return np.asarray(labels[1:] > labels[:-1], bool), np.asarray(labels[1:] < labels[:-1], bool)


def _owners(names: Sequence[str], edges: NDArray[np.int64], *cells: int) -> list[str]:
    """Return the names of the datasets that have these labels."""
    return [names[at - 1] for at in np.searchsorted(edges, cells, "right").tolist()]
