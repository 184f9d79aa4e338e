"""Damaged documents are named, and what they held is taken from others where it can be."""

from __future__ import annotations

import errno

import numpy as np
import pytest

import atlas
from atlas import Atlas
from atlas.commit.commit_writer import CommitWriter
from atlas.dataset import exact_attributes
from atlas.errors import AtlasError, CorruptStoreError, StorageError
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from tests.api.samples import put
from tests.verification.samples import all_files, build, contents, flipped, kept, paged, replaced, rewrite


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("compression", ["none", "zstd", "lz4"])
def test_no_bit_of_any_document_goes_unseen(compression):
    storage = kept(MemoryStorage(), meta_compression=compression)
    for key, size in all_files(storage):
        for at in range(0 if key.startswith("arrays/") else size):
            report = atlas.verify(replaced(storage, key, flipped(storage.read(key), at, at % 8)))
            assert {damage.file for damage in report.damage} == {key}, (key, at)


@pytest.mark.parametrize(("value", "attribute"), [("of b", "station"), ("K of b", "t.units")])
def test_an_attribute_that_cannot_be_decoded_is_named(value, attribute):
    storage = with_units(build(MemoryStorage()))
    key = storage.list("commits")[-1]

    def spoil(document):
        values = document["rows"]["value_table"]
        values[values.index(value)] = {"$": "float", "v": "what"}

    rewrite(storage, key, spoil)
    (damage,) = atlas.verify(storage).damage
    assert (damage.file, damage.dataset, damage.array) == (key, "b", None)
    assert repr(attribute) in damage.what


def with_units(storage):
    """Set an attribute of an array of each dataset, in a commit that also has what they had."""
    with Atlas.open(storage) as store:
        for name in "abc":
            store[name]["t"].attrs["units"] = f"K of {name}"
    return storage


@pytest.mark.parametrize("damage", [lambda data: flipped(data, 40), lambda data: data[:50], lambda data: None])
@pytest.mark.parametrize("options", [{}, {"meta_format": "msgpack", "meta_compression": "zstd", "codec": "lz4"}])
def test_a_lost_checkpoint_is_built_from_the_commits_and_repaired(damage, options):
    storage = build(MemoryStorage(), **options)
    shown, _ = contents(Atlas.open(storage))
    (key,) = [key for key in storage.list() if "/" not in key]
    broken = replaced(storage, key, damage(storage.read(key)))
    with pytest.raises(AtlasError):
        Atlas.open(broken)
    before = {other: broken.read(other) for other in broken.list() if other != key}
    report = atlas.verify(broken)
    assert [found.file for found in report.damage] == [key]
    assert (report.version, report.datasets, report.chunks) == (2, 3, 15)
    assert report.repaired == ()
    report = atlas.verify(broken, repair=True)
    assert not report.ok
    assert len(report.repaired) == 1
    assert key in report.repaired[0]
    assert {other: broken.read(other) for other in broken.list() if other != key} == before
    assert contents(Atlas.open(broken))[0] == shown
    assert Atlas.open(broken).describe().codec == options.get("codec", "zstd")
    assert atlas.verify(broken).ok


def test_repair_changes_nothing_but_a_checkpoint():
    storage = build(MemoryStorage())
    for key in storage.list():
        if key == "atlas.json":
            continue
        broken = replaced(storage, key, flipped(storage.read(key), 60))
        before = {other: broken.read(other) for other in broken.list()}
        report = atlas.verify(broken, repair=True)
        assert not report.ok
        assert report.repaired == ()
        assert {other: broken.read(other) for other in broken.list()} == before


def change(table, at, value):
    return lambda rows: rows[table].__setitem__(at, value(rows[table][at]))


@pytest.mark.parametrize(
    "spoil",
    [
        change("names", 1, lambda _: "bb"),
        change("value_table", 0, lambda _: "other"),
        change("attribute_table", 0, lambda found: [*found[:-1], 0 if found[-1] else 1]),
        change("array_attribute_table", 0, lambda found: [*found[:-1], 0 if found[-1] else 1]),
        change("keyset_table", 0, lambda keys: keys[::-1]),
    ],
)
def test_a_checkpoint_that_is_not_the_sum_of_the_commits_is_found(spoil):
    storage = with_units(build(MemoryStorage()))
    store = Atlas.open(storage)
    assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
    assert atlas.verify(storage).ok
    rewrite(storage, "atlas.json", lambda document: spoil(document["rows"]))
    report = atlas.verify(storage, repair=True)
    (damage,) = report.damage
    assert damage.file == "atlas.json"
    assert "sum of the commits" in damage.what
    assert Atlas.open(storage).list_datasets() == ["a", "b", "c"]


def test_a_damaged_commit_bars_the_versions_after_it():
    storage = build(MemoryStorage())
    first, second = storage.list("commits")
    report = atlas.verify(
        replaced(storage, second, flipped(storage.read(second), 99)), export=(target := MemoryStorage())
    )
    (damage,) = report.damage
    assert damage.file == second
    assert "version 2 cannot be opened" in damage.what
    assert report.version == 1
    assert Atlas.open(target).open_dataset("a").read_array("t")[3] != 1
    report = atlas.verify(replaced(storage, first, None))
    assert [damage.file for damage in report.damage] == [first]
    assert "missing" in report.damage[0].what
    assert "versions 1 to 2 cannot be opened" in report.damage[0].what


@pytest.mark.parametrize("damage", [lambda data: flipped(data, 30), lambda data: data[:-9], lambda data: None])
def test_datasets_of_a_damaged_page_that_were_changed_later_are_recovered(damage, monkeypatch):
    storage = paged(MemoryStorage(), monkeypatch)
    assert atlas.verify(storage).ok
    store = Atlas.open(storage)
    first, _ = store._session.catalog.pages
    broken = replaced(storage, first.key, damage(storage.read(first.key)))
    target = MemoryStorage()
    report = atlas.verify(broken, export=target, repair=True)
    assert {found.file for found in report.damage} == {first.key}
    assert "of its 6 datasets" in report.damage[0].what
    assert report.repaired == ()
    rescued = Atlas.open(target)
    assert rescued.list_datasets() == ["a1", "a3", *(f"b{n}" for n in range(6)), "c"]
    for name in rescued.list_datasets():
        assert exact_attributes(rescued.open_dataset(name)) == exact_attributes(store.open_dataset(name))
        if name != "c":
            np.testing.assert_array_equal(
                rescued.open_dataset(name).read_array("t"), store.open_dataset(name).read_array("t")
            )


def test_a_page_that_only_the_checkpoint_needs_is_repaired():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for n in range(6):
            put(store.create_dataset(f"a{n}"), "t", np.arange(3.0) + n, "float64")
        store.flush()
        store._session.log.limits = Limits(page_rows=4)
        assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
    (page,) = store._session.catalog.pages
    storage.replace(page.key, flipped(storage.read(page.key), 30))
    with pytest.raises(CorruptStoreError):
        Atlas.open(storage)
    report = atlas.verify(storage, repair=True)
    assert {found.file for found in report.damage} == {page.key}
    assert (report.datasets, len(report.repaired)) == (6, 1)
    assert Atlas.open(storage).list_datasets() == [f"a{n}" for n in range(6)]
    assert atlas.verify(storage).ok


@pytest.mark.parametrize("options", [{}, {"meta_format": "msgpack", "meta_compression": "lz4"}])
def test_documents_of_the_history_are_read_too(options):
    storage = kept(MemoryStorage(), **options)
    report = atlas.verify(storage)
    assert report.ok, report
    assert report.orphans == 0
    shown, _ = contents(Atlas.open(storage))
    documents = [key for key in storage.list() if not key.startswith("arrays/")]
    assert {key.partition("/")[0] for key in documents} >= {"bases", "commits"}
    for key in documents:
        for damaged in (flipped(storage.read(key), 33), None):
            if damaged is None and key.startswith("bases/") and "-" not in key:
                continue  # a link that is not there says that there is no later base
            if damaged is None and key == max(storage.list("commits")):
                continue  # nothing but an open handle knows that there was one
            copy = replaced(storage, key, damaged)
            target = MemoryStorage()
            report = atlas.verify(copy, export=target)
            assert {found.file for found in report.damage} == {key}, (key, damaged is None, report)
            if not key.startswith("commits/") or report.version == Atlas.open(storage).version:
                assert contents(Atlas.open(target))[0] == shown


@pytest.mark.parametrize("damage", [lambda data: flipped(data, 40), lambda data: None])
def test_a_checkpoint_is_repaired_from_the_base_and_the_history_stays(damage):
    storage = kept(MemoryStorage(), codec="lz4", filter="byteshuffle")
    store = Atlas.open(storage)
    history, shown = store.history(), contents(store)[0]
    before = [contents(Atlas.open(storage, version=one.version))[0] for one in history]
    broken = replaced(storage, "atlas.json", damage(storage.read("atlas.json")))
    report = atlas.verify(broken, repair=True)
    assert [found.file for found in report.damage] == ["atlas.json"]
    assert len(report.repaired) == 1
    repaired = Atlas.open(broken)
    assert contents(repaired)[0] == shown
    assert repaired.history() == history
    assert [contents(Atlas.open(broken, version=one.version))[0] for one in history] == before
    assert (repaired.describe().codec, repaired.describe().filter) == ("lz4", "byteshuffle")
    assert atlas.verify(broken).ok
    repaired.create_dataset("more")
    repaired.flush()
    assert atlas.verify(broken).ok


def test_every_version_that_is_kept_verifies_and_later_files_are_no_damage():
    storage = kept(MemoryStorage())
    for one in Atlas.open(storage).history():
        report = Atlas.open(storage, version=one.version).verify()
        assert report.ok, report
        assert report.version == one.version


def test_a_store_that_replaced_another_is_whole_and_can_be_repaired():
    storage = kept(MemoryStorage())
    build(storage, overwrite=True, meta_format="msgpack")
    assert atlas.verify(storage).ok
    shown, _ = contents(Atlas.open(storage))
    broken = replaced(storage, "atlas.msgpack", None)
    report = atlas.verify(broken, repair=True)
    assert {found.file for found in report.damage} == {"atlas.msgpack"}, report
    assert contents(Atlas.open(broken))[0] == shown
    assert atlas.verify(broken).ok


def test_a_store_that_replaced_a_damaged_one_is_whole_and_can_be_repaired():
    storage = kept(MemoryStorage())
    for key in storage.list("pages") + storage.list("commits"):
        storage.replace(key, b"damaged")
    storage.replace("atlas.json", b"damaged")
    build(storage, overwrite=True)
    report = atlas.verify(storage)
    assert report.ok, report
    shown, _ = contents(Atlas.open(storage))
    broken = replaced(storage, "atlas.json", None)
    report = atlas.verify(broken, repair=True)
    assert "atlas.json" in {found.file for found in report.damage}
    assert contents(Atlas.open(broken))[0] == shown


def test_an_old_checkpoint_that_was_written_late_is_no_damage():
    storage = build(MemoryStorage())
    late = storage.read("atlas.json")
    with Atlas.open(storage) as store:
        store.delete_dataset("a")
        store.compact(keep_days=0)
        shown, _ = contents(store)
    storage.replace("atlas.json", late)
    target = MemoryStorage()
    report = atlas.verify(storage, export=target)
    assert report.ok, report
    assert report.datasets == 2
    assert contents(Atlas.open(target))[0] == contents(Atlas.open(storage))[0] == shown


class Unlisted(MemoryStorage):
    """A storage that cannot be listed, such as a plain web server."""

    def list(self, prefix=""):
        raise StorageError(errno.EPERM, "this storage cannot be listed")


@pytest.mark.parametrize("make", [build, kept])
def test_a_storage_that_cannot_be_listed_is_verified_version_by_version(make):
    storage = make(MemoryStorage())
    served = Unlisted()
    for key in storage.list():
        served.replace(key, storage.read(key))
    report = atlas.verify(served)
    assert report.ok, report
    assert (report.orphans, report.version, report.chunks) == (None, Atlas.open(storage).version, 15)
    key = max(storage.list("commits"))
    served.replace(key, flipped(storage.read(key), 70))
    assert [damage.file for damage in atlas.verify(served).damage] == [key]


@pytest.mark.parametrize("lost", [False, True])
def test_a_store_that_was_cut_off_while_it_replaced_another_is_whole_and_can_be_repaired(lost, monkeypatch):
    storage = build(MemoryStorage())
    with monkeypatch.context() as cut_off:
        cut_off.setattr(CommitWriter, "checkpoint", lambda *_, **__: False)
        build(storage, overwrite=True, meta_format="msgpack", codec="lz4")
    shown, _ = contents(Atlas.open(storage))
    assert "atlas.json" in storage.list()
    if lost:
        storage.delete(["atlas.json"])
    report = atlas.verify(storage, repair=True)
    assert report.ok is not lost
    assert len(report.damage) == len(report.repaired) == lost
    store = Atlas.open(storage)
    assert contents(store)[0] == shown
    assert (store.describe().codec, store.history()[-1].version) == ("lz4", store.version)
    store.create_dataset("more")
    store.compact(keep_days=0)
    assert atlas.verify(storage).ok


@pytest.mark.parametrize("kept", [1, 2, 3, 5])
def test_pages_that_the_base_has_in_others_are_not_missed(kept):
    """A compaction that keeps versions writes pages anew where much has changed, and removes those before."""
    storage = MemoryStorage()
    store = Atlas.create(storage, limits=Limits(page_rows=2, small_checkpoint=0))
    store.create_datasets(["a0", "a1", "a2"])
    store.compact(keep_versions=1, keep_days=0)
    store.create_datasets(["b0", "b1", "b2"])
    for name in ("a0", "a1"):
        store.open_dataset(name).set_attribute("k", 1)
    store.delete_dataset("a2")
    for _ in range(3):
        store.compact(keep_versions=kept, keep_days=0)
        assert store.verify().damage == ()
        store.create_dataset(f"c{store.version}")
        store.flush()
    assert atlas.verify(storage).damage == ()
    for found in store.history():
        assert ("b2" in Atlas.open(storage, version=found.version).list_datasets()) is (found.version > 1)
    # A page that a kept version needs is missed.
    (page, *_) = sorted({ref.key for ref in store._session.catalog.pages})
    storage.delete([page])
    assert page in {damage.file for damage in atlas.verify(storage).damage}
