"""`durable=False`: nothing waits for the disk, and nothing else changes."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import atlas
from atlas.errors import CorruptStoreError
from atlas.storage import LocalStorage, MemoryStorage
from tests.api.subprocesses import ROOT, run_python

NOISE = np.random.default_rng(5).integers(0, 2**63, 3 << 20)  # 24 MiB, more than waits in memory


@pytest.fixture
def waits(monkeypatch):
    """Every call that waits for the disk, by name."""
    made = []
    for name in ("fsync", "fdatasync", "sync"):
        if hasattr(os, name):
            original = getattr(os, name)
            monkeypatch.setattr(
                os, name, lambda *given, name=name, original=original: made.append(name) or original(*given)
            )
    return made


def join_writers():
    for thread in threading.enumerate():
        if thread.name == "atlas-spill":
            thread.join()


def change_everything(store):
    """Small and spilled writes, deletions, joined segments, checkpoints and a compaction."""
    for name in ("large", "doomed"):
        view = store.create_dataset(name)
        view.define_array("t", "int64", ["x"], NOISE.shape, [1 << 18])
        view.write_array("t", [0], NOISE)
    store.flush()
    store.delete_dataset("doomed")
    for at in range(10):
        view = store.create_dataset(f"small{at}")
        view.define_array("t", "int64", ["x"], [3])
        view.write_array("t", [0], np.arange(3) + at)
        store.flush()
    store.compact()
    join_writers()


def check(store):
    assert store.list_datasets() == ["large", *(f"small{at}" for at in range(10))]
    np.testing.assert_array_equal(store.open_dataset("large").read_array("t"), NOISE)
    np.testing.assert_array_equal(store.open_dataset("small9").read_array("t"), [9, 10, 11])


@pytest.mark.bulky
def test_nothing_waits_for_the_disk_and_everything_can_be_read(tmp_path, waits):
    place = tmp_path / "deep" / "s"
    store = atlas.Atlas.create(place, durable=False)
    change_everything(store)
    atlas.Atlas.create(tmp_path / "other", durable=False)
    atlas.Atlas.create(tmp_path / "other", durable=False, overwrite=True)
    assert waits == []
    check(store)
    check(atlas.Atlas.open(place))


@pytest.mark.bulky
def test_a_durable_handle_waits_also_while_it_spills(tmp_path, waits):
    change_everything(atlas.Atlas.create(tmp_path / "s"))
    assert "fsync" in waits


@pytest.mark.bulky
def test_no_file_is_kept_open_to_be_waited_for(tmp_path, monkeypatch):
    kept, original = [], os.dup
    monkeypatch.setattr(os, "dup", lambda descriptor: kept.append(descriptor) or original(descriptor))
    change_everything(atlas.Atlas.create(tmp_path / "s", durable=False))
    assert kept == []
    change_everything(atlas.Atlas.create(tmp_path / "durable"))
    assert kept


@pytest.mark.bulky
def test_what_an_opened_handle_does_is_not_waited_for_either(tmp_path, waits):
    atlas.Atlas.create(tmp_path / "s")
    assert waits
    waits.clear()
    change_everything(atlas.Atlas.open(tmp_path / "s", durable=False))
    assert waits == []
    check(atlas.Atlas.open(tmp_path / "s"))


def test_it_is_no_property_of_the_store(tmp_path, waits):
    atlas.Atlas.create(tmp_path / "s", durable=False)
    assert waits == []
    with atlas.Atlas.open(tmp_path / "s") as store:
        store.create_dataset("d")
    assert waits


@pytest.mark.parametrize("durable", [True, False])
def test_a_pickled_handle_keeps_it(tmp_path, waits, durable):
    atlas.Atlas.create(tmp_path / "s")
    # The other kind is loaded first: a process has one handle a version, but one of each kind.
    for kind in (not durable, durable):
        store = pickle.loads(pickle.dumps(atlas.Atlas.open(tmp_path / "s", durable=kind)))
    waits.clear()
    store.create_dataset("d")
    store.flush()
    assert bool(waits) == durable


def test_it_is_kept_in_another_process(tmp_path):
    store = atlas.Atlas.create(tmp_path / "s", durable=False)
    script = """
        import os, pickle, sys
        def fail(descriptor):
            raise AssertionError("it waits")
        os.fsync = fail
        store = pickle.loads(bytes.fromhex(sys.argv[1]))
        with store:
            store.create_dataset("d")
    """
    run_python(script, pickle.dumps(store).hex())
    assert atlas.Atlas.open(tmp_path / "s").list_datasets() == ["d"]


def test_a_storage_that_is_handed_over_says_for_itself(tmp_path, waits):
    with atlas.Atlas.create(LocalStorage(tmp_path / "a", durable=False), durable=True) as store:
        store.create_dataset("d")
    assert waits == []
    with atlas.Atlas.create(LocalStorage(tmp_path / "b"), durable=False) as store:
        store.create_dataset("d")
    assert waits
    with atlas.Atlas.create(MemoryStorage(), durable=False) as store:
        store.create_dataset("d")


def test_an_object_store_takes_it_and_does_as_ever(tmp_path):
    obstore = pytest.importorskip("obstore")
    bucket = obstore.store.LocalStore(str(tmp_path))
    with atlas.Atlas.create(bucket, durable=False) as store:
        store.create_dataset("d")
    assert atlas.Atlas.open(bucket, durable=False).list_datasets() == ["d"]


@pytest.mark.bulky
def test_nothing_spilled_for_an_object_store_is_waited_for(tmp_path, waits):
    """Its temporary file is copied, and so never has to last."""
    with atlas.Atlas.create(MemoryStorage()) as store:
        view = store.create_dataset("d")
        view.define_array("t", "int64", ["x"], NOISE.shape, [1 << 18])
        view.write_array("t", [0], NOISE)
        join_writers()
    assert waits == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_that_is_killed_loses_nothing_that_was_flushed(tmp_path):
    script = """
        import sys, time, numpy as np, atlas
        store = atlas.Atlas.create(sys.argv[1], durable=False)
        for at in range(100000):
            view = store.create_dataset(f"d{at}")
            view.define_array("t", "int64", ["x"], [1000])
            view.write_array("t", [0], np.arange(1000) + at)
            store.flush()
            print(at, flush=True)
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "s")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    with writer:
        for _ in range(20):
            flushed = int(writer.stdout.readline())
        time.sleep(0.05)
        writer.kill()
        flushed = int((writer.stdout.read().split() or [flushed])[-1])
    store = atlas.Atlas.open(tmp_path / "s")
    assert len(store.list_datasets()) in {flushed + 1, flushed + 2}
    for at in range(flushed + 1):
        np.testing.assert_array_equal(store.open_dataset(f"d{at}").read_array("t"), np.arange(1000) + at)


def test_damage_is_found_all_the_same(tmp_path):
    with atlas.Atlas.create(tmp_path / "s", durable=False) as store:
        view = store.create_dataset("d")
        view.define_array("t", "int64", ["x"], [1000])
        view.write_array("t", [0], np.arange(1000) * 12345)
    (segment,) = (tmp_path / "s" / "arrays").rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(data)
    with pytest.raises(CorruptStoreError):
        atlas.Atlas.open(tmp_path / "s", durable=False).open_dataset("d").read_array("t")
