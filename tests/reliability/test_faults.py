"""Each fault campaign, thinned out: every scenario, and one of many cases of each."""

from __future__ import annotations

import os
import sys

import pytest

from tests.reliability import faults, faults_local, faults_s3
from tests.reliability.faulty import BY_KIND, FAULTS
from tests.reliability.full_disk import run_disk


def test_storages_and_handles_that_fail_lose_nothing():
    figures = faults.run(full=False)
    assert figures["scenarios"] == 2 * len(faults.SCENARIOS)
    assert figures["faults met"] == figures["cases"] > 100


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are named through /proc")
def test_calls_of_the_system_that_fail_lose_nothing():
    figures = faults_local.run(full=False)
    assert figures["faults met"] == figures["cases"] > 15
    assert figures["of them failed by it"] > 0


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a file system of its own")
def test_a_real_full_disk_loses_nothing():
    figures = run_disk(4)
    assert figures is None or figures["of them failed for want of room"] > 0


def test_a_server_that_fails_loses_nothing():
    figures = faults_s3.run(full=False)
    assert figures["faults met"] == figures["cases"] > 5


def test_every_fault_befalls_some_operation():
    assert set(FAULTS) == {fault for faults_of_kind in BY_KIND.values() for fault in faults_of_kind}


class _Forgetful(faults.MemoryStorage):
    """A storage that loses what is created while it says otherwise."""

    def create(self, key, data):
        return True if key.startswith("commits/") else super().create(key, data)


class _Doubting(faults.MemoryStorage):
    """A storage that takes its own first request for another's."""

    def replace(self, key, data):
        super().replace(key, data[: len(data) // 2])


@pytest.mark.parametrize("storage", [_Forgetful, _Doubting])
def test_the_campaign_notices_what_is_lost(monkeypatch, storage):
    monkeypatch.setattr(faults, "MemoryStorage", storage)
    with pytest.raises((faults.BrokenPromise, faults.AtlasError)):
        faults.run_world(faults.memory_world, faults.Figures(), every=5)
