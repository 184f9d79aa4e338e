"""When what was added is committed, by a clock that the tests set."""

from __future__ import annotations

import pytest

from atlas.ingest import commits
from atlas.ingest.commits import CommitPolicy
from atlas.ingest.options import Every


@pytest.fixture
def clock(monkeypatch):
    """Seconds on the clock, in a list."""
    seconds = [1000.0]
    monkeypatch.setattr(commits.time, "monotonic", lambda: seconds[0])
    return seconds


def commits_of(every, clock, sources, *, seconds=0.0, size=1):
    """Numbers of sources in each commit, where a source comes every `seconds`; the last is what still waits."""
    policy, counts = CommitPolicy(Every.parse(every)), []
    for number in range(sources):
        clock[0] += seconds
        policy.add(number, size)
        if policy.is_due():
            counts.append(len(policy.waiting))
            policy.committed()
    return [*counts, len(policy.waiting)]


def test_nothing_is_due_where_nothing_waits(clock):
    policy = CommitPolicy(Every.parse("1 s"))
    clock[0] += 1e6
    assert not policy.is_due()
    policy.add(0, 1)
    assert policy.is_due()
    policy.committed()
    assert not policy.is_due()


def test_sources_that_come_at_once_are_committed_early_and_ever_more_of_them(clock):
    counts = commits_of("5 min", clock, 1000)
    first = counts[0]
    assert 1 <= first <= 10
    assert counts[:-1] == [first << doubling for doubling in range(len(counts) - 1)]
    assert commits_of("1 GiB", clock, 1000) == commits_of("5000 files", clock, 1000) == counts


@pytest.mark.parametrize("every", ["5 min", "1000 files", "1 GiB"])
def test_sources_that_take_long_are_committed_after_seconds_ever_more_of_them(clock, every):
    assert commits_of(every, clock, 61, seconds=1) == [2, 4, 8, 16, 31]


def test_no_commit_waits_longer_than_asked_for(clock):
    assert commits_of("10 s", clock, 60, seconds=1) == [2, 4, 8, 10, 10, 10, 10, 6]
    assert commits_of("5 min", clock, 20, seconds=400) == [1] * 20 + [0]
    assert commits_of("1 s", clock, 3, seconds=1) == [1, 1, 1, 0]


def test_no_commit_has_more_files_than_asked_for(clock):
    assert commits_of("3 files", clock, 10) == [3, 3, 3, 1]
    counts = commits_of("100 files", clock, 1000)
    assert max(counts) == 100
    assert counts[-3:-1] == [100, 100]
    assert commits_of("1 file", clock, 3) == [1, 1, 1, 0]


def test_a_commit_is_due_once_it_has_the_bytes_asked_for(clock):
    assert commits_of("1 KiB", clock, 6, size=512) == [2, 2, 2, 0]
    assert commits_of("1 KiB", clock, 3, size=1 << 30) == [1, 1, 1, 0]
    assert commits_of("1 KiB", clock, 5, size=1023) == [2, 2, 1]


def test_the_time_since_the_last_commit_counts(clock):
    policy = CommitPolicy(Every.parse("30 s"))
    for _ in range(10):
        policy.committed()
    clock[0] += 29
    policy.add(0, 1)
    assert not policy.is_due()
    clock[0] += 1
    assert policy.is_due()
    policy.committed()
    policy.add(1, 1)
    assert not policy.is_due()
    assert policy.waiting == [1]


def test_what_waits_is_known_by_number(clock):
    policy = CommitPolicy(Every.parse("5 min"))
    policy.add(7, 10)
    policy.add(9, 10)
    assert policy.waiting == [7, 9]
    policy.waiting.remove(7)
    assert policy.waiting == [9]
    policy.committed()
    assert policy.waiting == []
