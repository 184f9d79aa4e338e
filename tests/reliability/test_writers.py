"""A short run of the campaign; see `writers`."""

from __future__ import annotations

from tests.reliability import writers


def test_many_writers_and_readers_agree_on_every_version():
    figures = writers.run(full=False)
    assert figures["flushes landed"] > 60
    assert figures["reads"] > 500
    assert figures["compactions"] > 0
    assert figures["chunks shared within a segment"] > 10
    assert figures["chunks shared with another segment"] > 0
