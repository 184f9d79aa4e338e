"""Disks that fail to take what was written: a system says so once an opening of the file, and no flush may miss it."""

from __future__ import annotations

import errno
import os
import threading

import numpy as np
import pytest

import atlas
from atlas.errors import StorageError

NOISE = np.random.default_rng(5).integers(0, 2**63, 3 << 20)  # 24 MiB, more than waits in memory


@pytest.mark.bulky
@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without names")
def test_a_write_that_was_lost_while_it_was_brought_to_the_disk_early_fails_the_flush(tmp_path, monkeypatch):
    """As on Linux: each opening of the file, however many descriptors it has, hears once of the loss."""
    positions, lost, waited, original = set(), set(), threading.Event(), os.fsync

    def fail(descriptor):
        status = os.fstat(descriptor)
        if not waited.is_set() and status.st_nlink == 0:
            lost.add(status.st_ino)
        if status.st_ino not in lost:
            return original(descriptor)
        # Descriptors of one opening share a position, which nothing that is tested uses.
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        if position == 0:
            position = os.lseek(descriptor, 1000 + len(positions), os.SEEK_SET)
        waited.set()
        if position in positions:
            return original(descriptor)
        positions.add(position)
        raise OSError(errno.EIO, "Input/output error")

    store = atlas.Atlas.create(tmp_path / "s")
    with monkeypatch.context() as patches:
        patches.setattr(os, "fsync", fail)
        view = store.create_dataset("d")
        view.define_array("t", "int64", ["x"], NOISE.shape, [1 << 18])
        view.write_array("t", [0], NOISE)
        assert waited.wait(10)
        with pytest.raises(StorageError):
            store.flush()
        assert atlas.Atlas.open(tmp_path / "s").list_datasets() == []
        np.testing.assert_array_equal(view.read_array("t"), NOISE)
        store.flush()
    np.testing.assert_array_equal(atlas.Atlas.open(tmp_path / "s").open_dataset("d").read_array("t"), NOISE)
