from __future__ import annotations

import pytest

from atlas.commit.checkpointing import checkpoint_is_due


@pytest.mark.parametrize(
    ("size", "commits", "added", "due"),
    [
        (300, 1, 100, False),
        (60_000, 7, 10**6, False),
        (60_000, 8, 100, True),
        (10**6, 1, 100, False),
        (10**6, 31, 100, False),
        (10**6, 32, 100, True),
        (10**6, 2, 250_000, True),
    ],
)
def test_checkpoints_are_rewritten_in_proportion(size, commits, added, due):
    assert checkpoint_is_due(size, commits, added) is due
