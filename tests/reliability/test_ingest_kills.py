"""Processes killed while they add files: a short run of the campaign, and that what is broken is found."""

from __future__ import annotations

import os

import pytest

from tests.reliability import ingest_kills
from tests.reliability.test_kills import create_later

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def test_what_killed_processes_have_added_is_whole_and_the_next_ones_add_the_rest():
    figures = ingest_kills.run(full=False)
    assert figures["kills"] == 10
    assert figures["stores"] >= 1
    assert figures["datasets compared"] == 15 * figures["stores"]
    assert figures["commits acknowledged"] > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_kills():
    figures = ingest_kills.run(full=True)
    assert figures["kills"] == 1000
    assert figures["within a commit"] > 0


def flush_nothing(self, *arguments, **named):
    """A commit that is acknowledged and not made."""


def never(self, other):
    """A file that the store has is never taken for unchanged."""
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"atlas.storage.local.LocalStorage.create": create_later}, r"the store has \[\], none of"),
        ({"atlas.session.Session.flush": flush_nothing}, "is not in the store"),
        (
            {f"atlas.ingest.provenance.Fingerprint.{name}": never for name in ("is_unchanged", "has_equal_bytes")},
            "the store has a dataset .* already",
        ),
    ],
)
def test_what_is_broken_on_purpose_is_found(changes, said):
    with pytest.raises(AssertionError, match=said):
        ingest_kills.run(full=False, changes=changes)
