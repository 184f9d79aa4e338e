"""Scripts of datasets that share chunks of coordinates: within a segment, and over the segments of several flushes.

Each looks into the chunk tables of what it has made, so that none can pass without the rows that it is about.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from atlas.catalog.chunk_index import load_segment
from atlas.commit.committer import Committer
from atlas.format.segment import SHARED
from tests.reliability.enumeration import AXIS
from tests.reliability.twins import count_shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.scripts import Play, Script

__all__ = ["SHARING"]

_SMALL = {"digested_bytes": 8}
_JOINING = _SMALL | {"joined_at_once": 2}
_APART = _SMALL | {"joined_at_once": 1000}
_LABELS = np.array(["one", "two", None, "four"], object)


def _add(s: Script, *names: str, shift: float = 0.0) -> None:
    """Add datasets with a coordinate of two chunks, one of text, and an array of their own."""
    for name in names:
        s.dataset(name)
        s.coordinate(name, "x", AXIS + shift, chunk=(3,))
        s.coordinate(name, "label", _LABELS if not shift else _LABELS[::-1].copy())
        s.array(name, "t", np.random.default_rng(len(name)).random(4))


def _begin(s: Script) -> None:
    """A store of two datasets in one segment, and a third whose chunks lie there."""
    s.create()
    _add(s, "a", "b")
    s.flush()
    _add(s, "c")
    s.flush()
    assert count_shared(s.store, "x") == (2, 2)
    assert count_shared(s.store, "label") == (1, 1)


def sharing(s: Script) -> None:
    """Datasets that share, of which the first go, change or come back."""
    s.create()
    s.from_here()
    _add(s, "a", "b")
    s.flush()
    assert count_shared(s.store, "x") == (2, 0)
    _add(s, "c")
    s.drop("a")
    s.flush()
    assert count_shared(s.store, "x") == (2, 2)
    s.write("b", "x", np.array([9.0]), start=[1])
    s.write("c", "label", np.array(["new"], object), start=[3])
    s.flush()
    s.drop("b")
    s.compact(keep_days=0)
    assert count_shared(s.store, "x") == (0, 0)
    _add(s, "e")
    s.flush()
    assert count_shared(s.store, "x") == (0, 2)


def sharing_with_what_goes(s: Script) -> None:
    """The dataset goes whose flush stored the chunk, then the flush, a compaction, and more that share."""
    _begin(s)
    s.from_here()
    s.drop("a")
    s.flush()
    _add(s, "d")
    s.flush()
    assert count_shared(s.store, "x") == (2, 4)
    s.drop("b")
    s.compact(keep_versions=2, keep_days=0)
    assert count_shared(s.store, "x") == (2, 0)
    s.drop("c")
    s.compact(keep_days=0)
    s.drop("d")
    s.compact(keep_days=0)
    _add(s, "a")
    s.flush()


def sharing_overwritten(s: Script) -> None:
    """A chunk is written anew by the dataset that had it first, by one that shares it, and back again."""
    _begin(s)
    s.from_here()
    s.write("a", "x", AXIS[:3] * 2)
    s.flush()
    s.write("c", "x", np.array([7.5]), start=[4])
    s.drop_array("b", "label")
    s.flush()
    s.write("a", "x", AXIS[:3])
    s.write("b", "x", AXIS[:3] * 2)
    s.flush()
    assert count_shared(s.store, "x") == (2, 4)
    s.compact(keep_days=0)
    assert count_shared(s.store, "x") == (2, 0)


def sharing_and_going_back(s: Script) -> None:
    """Rollbacks to versions whose chunks lie in segments that later versions have compacted, and on from there."""
    _begin(s)
    s.from_here()
    first = s.store.version
    s.drop("a")
    s.flush()
    second = s.store.version
    _add(s, "d")
    s.drop("b")
    s.compact(keep_versions=9, keep_days=0)
    assert count_shared(s.store, "x") == (2, 0)
    s.rollback(first)
    assert count_shared(s.store, "x") == (2, 2)
    _add(s, "e")
    s.flush()
    assert count_shared(s.store, "x") == (2, 4)
    s.rollback(second)
    _add(s, "f")
    s.compact(keep_days=0)
    assert count_shared(s.store, "x") == (4, 0)
    _add(s, "g")
    s.flush()


def sharing_joined(s: Script) -> None:
    """Flushes that join the segments that they share chunks with."""
    s.create()
    s.from_here()
    joined = 0
    for name in ("a", "bb", "ccc", "dddd", "eeeee", "ffffff"):
        _add(s, name)
        if name == "dddd":
            s.drop("a")
        s.flush()
        refs = s.store._session.catalog.segments["x"]
        if len(refs) > 1 and refs[-2].rewritten:
            joined += 1
            storage = s.store._session.view.storage
            (other, rows), (own, mine) = (load_segment(storage, ref) for ref in refs[-2:])
            assert (mine.block == SHARED).all()
            stored = other.digests[rows.digest[rows.block >= 0]].tolist()
            assert set(own.digests[mine.digest].tolist()) <= set(stored)
    assert joined
    s.compact(keep_days=0)


@contextmanager
def _written_whole() -> Iterator[None]:
    """Hold a flush that must write a segment once more, because what it shared is gone."""
    original = Committer._without_lost
    again = []

    def without_lost(self: Committer, segment, tip, *, joined):
        whole = original(self, segment, tip, joined=joined)
        again.extend([segment.array] if whole is not segment else [])
        assert not whole.content.shares or whole is segment
        return whole

    with mock.patch.object(Committer, "_without_lost", without_lost):
        yield
    assert "x" in again


def sharing_beside_a_compaction(s: Script) -> None:
    """A flush shares chunks of segments that another handle has compacted by its commit, or removed before."""
    _begin(s)
    s.from_here()
    other = s.open()
    s.drop("a")
    s.compact(keep_versions=9, keep_days=0)
    s.store, other = other, s.store
    _add(s, "d")
    with _written_whole():
        s.flush()
    s.store, other = other, s.store
    s.refresh()
    s.compact(keep_days=0)
    s.store = other
    _add(s, "e")
    s.flush()


def sharing_beside_a_rollback(s: Script) -> None:
    """A flush shares chunks of a segment that another handle's rollback removes from the store before its commit."""
    _begin(s)
    begun = s.store.version
    _add(s, "d", shift=1.0)
    s.flush()
    s.from_here()
    other = s.open()
    s.rollback(begun)
    s.store, other = other, s.store
    _add(s, "e", shift=1.0)
    with _written_whole():
        s.flush()
    _add(s, "f", shift=1.0)
    s.flush()
    s.drop("e")
    s.compact(keep_days=0)


def sharing_joined_beside_others(s: Script) -> None:
    """A flush joins segments that it shares with, and another commit comes first: its joined segments are left out."""
    _begin(s)
    s.from_here()
    other = s.open()
    _add(s, "d", shift=1.0)
    s.flush()
    s.store, other = other, s.store
    _add(s, "e")
    with _written_whole():
        s.flush()
    s.store, other = other, s.store
    _add(s, "f")
    s.flush()
    s.compact(keep_days=0)


SHARING: dict[str, tuple[Play, dict[str, int]]] = {
    play.__name__: (play, limits)
    for play, limits in (
        (sharing, _APART),
        (sharing_with_what_goes, _APART),
        (sharing_overwritten, _APART),
        (sharing_and_going_back, _APART),
        (sharing_joined, _JOINING),
        (sharing_beside_a_compaction, _APART),
        (sharing_beside_a_rollback, _APART),
        (sharing_joined_beside_others, _JOINING),
    )
}
"""Scripts and their limits by name."""
