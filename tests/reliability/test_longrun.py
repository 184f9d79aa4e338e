"""A short run of the campaign; see `longrun`."""

from __future__ import annotations

import pytest

from tests.reliability import longrun


def test_files_and_documents_level_out():
    figures = longrun.run(full=False)
    assert figures["flushes"] == longrun.QUICK.flushes
    assert figures["compactions"] == 35
    assert figures["files at the end"] < 2 * figures["flushes"] + 100


@pytest.mark.long
def test_files_and_documents_level_out_over_minutes():
    assert longrun.run(full=True, minutes=5.0)["flushes"] > 2000
