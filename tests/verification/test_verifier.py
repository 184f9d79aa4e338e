"""Verification names all damage and nothing else, changes nothing, and works on open handles."""

from __future__ import annotations

import hashlib
import threading
import time
import tracemalloc

import numpy as np
import pytest

import atlas
from atlas import Atlas
from atlas.catalog.chunk_index import load_segment
from atlas.errors import (
    AtlasError,
    CorruptStoreError,
    StaleHandleError,
    StoreExistsError,
    StoreNotFoundError,
    UnsupportedFormatError,
)
from atlas.storage import MemoryStorage
from tests.verification.samples import all_files, build, contents, failing, flipped, kept, replaced, segments


def test_a_store_that_is_whole_is_reported_whole_and_counted():
    storage = build(MemoryStorage())
    report = atlas.verify(storage)
    assert report.ok
    assert report.damage == report.left_out == report.repaired == ()
    assert (report.version, report.datasets, report.orphans) == (2, 3, 0)
    refs = segments(storage)
    assert report.blocks == sum(ref.footer.blocks for ref in refs)
    assert report.chunks == 9 + 2 + 4
    assert report.files == len(storage.list())
    assert report.bytes == sum(size for _, size in all_files(storage))
    assert Atlas.open(storage).verify().ok


@pytest.mark.parametrize("what", ["atlas.json", "commits/00000000000000000002.json", "arrays"])
def test_a_file_that_cannot_be_read_is_damage_and_no_exception(what):
    storage = build(MemoryStorage())
    key = next(key for key in storage.list() if key.startswith(what))
    bad = failing(storage)
    bad.bad = (key, 0, 2**62)
    report = atlas.verify(bad)
    assert {damage.file for damage in report.damage} == {key}
    assert all("Input/output error" in damage.what for damage in report.damage if damage.dataset is None)


def test_orphans_are_counted_and_no_damage():
    storage = build(MemoryStorage())
    storage.replace("arrays/t/stray.seg", b"whatever")
    storage.replace("pages/stray.json.zst", b"whatever")
    report = atlas.verify(storage)
    assert report.ok
    assert report.orphans == 2


def test_an_open_handle_repairs_a_checkpoint_whose_commits_are_gone():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    store.compact()
    shown, _ = contents(store)
    storage.replace("atlas.json", b"gone")
    storage.delete(storage.list("commits")[:-1])
    report = store.verify(repair=True)
    assert [damage.file for damage in report.damage] == ["atlas.json"]
    assert report.datasets == 3
    assert len(report.repaired) == 1
    assert contents(Atlas.open(storage))[0] == shown


def test_a_handle_verifies_its_version_even_where_its_commit_is_damaged_now():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    key = storage.list("commits")[-1]
    storage.replace(key, flipped(storage.read(key), 99))
    report = store.verify(export=(target := MemoryStorage()))
    assert [damage.file for damage in report.damage] == [key]
    assert report.version == 2
    assert contents(Atlas.open(target))[0] == contents(store)[0]


def test_the_source_must_be_a_store_and_the_target_must_not():
    with pytest.raises(StoreNotFoundError):
        atlas.verify(MemoryStorage())
    storage = build(MemoryStorage())
    before = {key: storage.read(key) for key in storage.list()}
    with pytest.raises(StoreExistsError):
        atlas.verify(storage, export=storage)
    assert {key: storage.read(key) for key in storage.list()} == before
    other = MemoryStorage()
    other.replace("atlas.json", b'{"version": 1, "datasets": {}}')
    with pytest.raises(UnsupportedFormatError):
        atlas.verify(other)


def test_pending_writes_are_neither_verified_nor_lost():
    storage = build(MemoryStorage())
    store = Atlas.open(storage)
    store.create_dataset("new")
    report = store.verify()
    assert (report.ok, report.datasets, report.version) == (True, 3, 2)
    store.flush()
    assert Atlas.open(storage).list_datasets() == ["a", "b", "c", "new"]


def test_progress_grows_to_the_total():
    storage = build(MemoryStorage())
    seen = []
    report = atlas.verify(storage, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(done <= total for done, total in seen)
    assert seen[-1] == (report.bytes, report.bytes)
    with pytest.raises(TypeError, match="progress"):
        atlas.verify(storage, progress=3)

    class Enough(Exception):
        pass

    def stop(done, total):
        raise Enough

    with pytest.raises(Enough):
        atlas.verify(storage, progress=stop)


def test_a_report_fits_a_terminal_and_a_notebook():
    storage = build(MemoryStorage())
    report = atlas.verify(storage)
    assert repr(report).count("\n") == 0
    assert "whole" in repr(report)
    (ref,) = [ref for ref in segments(storage) if ref.array == "s"]
    damaged = atlas.verify(replaced(storage, ref.key, None))
    assert repr(damaged).splitlines()[1].split() == ["file", "array", "dataset", "chunk", "what"]
    assert "<td>it is missing: which chunks it held cannot be known</td>" in damaged._repr_html_()
    many = type(damaged)(
        **{name: getattr(damaged, name) for name in damaged.__slots__} | {"damage": damaged.damage * 9}
    )
    assert "… and 8 more" in repr(many)


def test_what_is_verified_is_not_changed():
    storage = build(MemoryStorage())
    before = hashlib.sha256(repr([(key, storage.read(key)) for key in storage.list()]).encode()).digest()
    atlas.verify(storage, repair=True)
    assert hashlib.sha256(repr([(key, storage.read(key)) for key in storage.list()]).encode()).digest() == before


def test_reads_of_whole_datasets_go_on_beside_a_damaged_one():
    storage = MemoryStorage()
    names = [f"d{n}" for n in range(30)]
    with Atlas.create(storage) as store:
        store.create_datasets(names)
        store.write_array_across_stacked("t", names, np.random.default_rng(0).random((30, 9000)))
    (ref,) = segments(storage)
    source, _ = load_segment(storage, ref)
    damaged = replaced(storage, ref.key, flipped(storage.read(ref.key), int(source.blocks.offset[4]) + 50))
    store = Atlas.open(damaged)
    with pytest.raises(CorruptStoreError):
        store.read_array_across_stacked("t", names)
    whole = [name for name in names if name != "d4"]
    expected = Atlas.open(storage).read_array_across_stacked("t", whole)
    np.testing.assert_array_equal(store.read_array_across_stacked("t", whole), expected)
    assert {damage.dataset for damage in store.verify().damage} == {"d4"}


@pytest.mark.bulky
def test_memory_is_bounded_by_batches_whatever_a_store_holds(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "2")
    storage = MemoryStorage()
    with Atlas.create(storage, codec="none") as store:
        view = store.create_dataset("a")
        view.define_array("t", "float32", ["x"], [16 << 20], [4 << 20])  # 64 MiB in chunks of 16
        view.write_array("t", [0], np.arange(16 << 20, dtype="f4"))
    atlas.verify(storage)  # what is kept for good, such as compiled kernels, is made now
    tracemalloc.start()
    try:
        report = atlas.verify(storage)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.ok
    assert report.bytes > 64 << 20
    assert peak < 32 << 20


def test_an_open_handle_knows_that_the_last_commit_is_missing():
    storage = kept(MemoryStorage())
    store = Atlas.open(storage)
    key = max(storage.list("commits"))
    storage.delete([key])
    report = store.verify()
    assert [(found.file, found.what) for found in report.damage] == [
        (key, f"it is missing; version {store.version} cannot be opened")
    ]
    assert report.version == store.version


def test_a_handle_whose_version_is_no_longer_kept_is_stale():
    storage = build(MemoryStorage())
    store, other = Atlas.open(storage), Atlas.open(storage)
    other.open_dataset("a").write_array("t", [0], np.zeros(40, "f4"))
    other.compact(keep_versions=1, keep_days=0)
    with pytest.raises(StaleHandleError):
        store.verify()
    assert other.verify().ok


def test_verifying_beside_a_writer_and_compactions_reports_no_damage():
    storage = build(MemoryStorage())
    stop = threading.Event()
    errors = []

    def write():
        store = Atlas.open(storage)
        try:
            for n in range(1000):
                if stop.is_set():
                    return
                store.open_dataset("a").write_array("t", [n % 40], np.full(1, n, "f4"))
                store.open_dataset("b").set_attribute("n", n)
                store.flush()
                if n % 3 == 0:
                    store.compact(keep_days=0)
        except AtlasError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                report = atlas.verify(storage)
            except StaleHandleError:
                continue
            assert report.ok, report
            read += 1
    finally:
        stop.set()
        writer.join()
    assert not errors
    assert read > 0
