"""Progress: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import sys
import termios

import pytest

from atlas.ingest import IngestReport, Progress, SourceResult, progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds on the clock, in a list."""
    seconds = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def begin(monkeypatch):
    """A function that makes a Progress whose stderr is another file; pytest replaces it before each test begins."""

    def begin(stderr):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            return Progress()

    return begin


@pytest.fixture
def terminal(begin):
    """A Progress in a terminal, and a function that reads all that was written there."""
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def read():
        stderr.flush()
        parts = []
        while select.select([outside], [], [], 0.1)[0]:
            parts.append(os.read(outside, 1 << 16))
        return b"".join(parts).decode()

    with os.fdopen(inside, "w") as stderr:
        yield begin(stderr), read
    os.close(outside)


def deal(shown, report, *statuses):
    for status in statuses:
        report.results.append(SourceResult("a.nc", "a", status))
        shown(report)


class TestLines:
    @pytest.fixture
    def printed(self):
        return io.StringIO()

    def test_a_short_run_prints_nothing(self, clock, begin, printed):
        shown, report = begin(printed), IngestReport(sources=3)
        for _ in range(3):
            clock[0] += 9.9
            deal(shown, report, "stored")
        shown.close()
        assert printed.getvalue() == ""

    def test_a_line_comes_every_thirty_seconds(self, clock, begin, printed):
        shown, report = begin(printed), IngestReport(sources=1200)
        for _ in range(100):
            clock[0] += 1
            deal(shown, report, "stored", "stored", "failed")
        shown.close()
        assert printed.getvalue().splitlines() == [
            "88 of 1,200 files, 29 failed, 2.93 files/s, 06:19 left",
            "178 of 1,200 files, 59 failed, 2.97 files/s, 05:44 left",
            "268 of 1,200 files, 89 failed, 2.98 files/s, 05:12 left",
        ]

    def test_a_long_wait_gives_one_line(self, clock, begin, printed):
        shown, report = begin(printed), IngestReport(sources=2)
        clock[0] += 7200
        deal(shown, report, "present", "present")
        assert printed.getvalue() == "1 of 2 files, 0 failed, 0.000139 files/s, 2:00:00 left\n"


class TestBar:
    def test_it_shows_counts_rate_and_total_and_goes_away(self, terminal):
        (shown, read), report = terminal, IngestReport(sources=4)
        deal(shown, report, "stored", "failed", "present", "stored")
        shown._bar.refresh()
        out = read()
        last = out.split("\r")[-1]
        assert "0/4" in out
        assert "4/4" in last
        assert "stored=2" in last
        assert "failed=1" in last
        assert "file/s" in last
        assert "\n" not in out
        shown.close()
        assert read().split("\r")[-1].strip() == ""

    def test_it_prints_no_lines(self, terminal, clock):
        (shown, read), report = terminal, IngestReport(sources=4)
        clock[0] += 100
        deal(shown, report, "stored", "stored")
        shown.close()
        assert "of 4 files" not in read()

    def test_sources_are_counted_now_and_then(self, terminal, clock):
        counted = []

        class Report(IngestReport):
            def count(self, status):
                counted.append(len(self.results))
                return super().count(status)

        (shown, _), report = terminal, Report(sources=1000)
        for _ in range(1000):
            clock[0] += 0.01
            deal(shown, report, "stored")
        shown.close()
        assert 10 <= len(counted) <= 25
        assert counted[-1] == 1000

    def test_a_bar_without_sources_is_closed(self, terminal):
        shown, read = terminal
        shown.close()
        assert read().split("\r")[-1].strip() == ""


def test_whether_there_is_a_terminal_is_asked_of_stderr_of_the_beginning(begin, clock):
    shown, report = begin(io.StringIO()), IngestReport(sources=2)
    printed = shown._out
    clock[0] += 40
    deal(shown, report, "stored", "stored")
    shown.close()
    assert printed.getvalue().startswith("1 of 2 files, 0 failed")
