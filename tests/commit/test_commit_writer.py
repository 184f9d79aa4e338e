from __future__ import annotations

import logging

import numpy as np
import orjson
import pytest

from atlas.catalog.column_builder import build_rows
from atlas.commit.commit_log import CommitLog
from atlas.commit.commit_writer import CommitWriter
from atlas.commit.creation import create_store
from atlas.commit.tip import Tip
from atlas.errors import (
    CorruptStoreError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
    UnsupportedFormatError,
    VersionNotFoundError,
)
from atlas.format.changes import Changes
from atlas.format.config import StoreConfig
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.maintenance.gc import Collector
from atlas.maintenance.retention import Retention
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from atlas.storage.keys import unique_name

CONFIG = StoreConfig("lz4", "bitshuffle", Encoding("json", ""))
every_encoding = pytest.mark.parametrize("encoding", CHECKPOINT_NAMES.values(), ids=CHECKPOINT_NAMES)


def batch(*ids):
    each = np.arange(len(ids))
    attributes = [{"n": identity} for identity in ids]
    return build_rows(np.array(ids), [f"d{identity}" for identity in ids], [()], each * 0, attributes, each)


def make(storage, config=CONFIG):
    return create_store(storage, config, overwrite=False)


def commit(log, catalog, *ids, paged=False):
    rows = batch(*ids)
    pages = (CommitWriter(log).write_page(rows),) if paged else ()
    changes = Changes(
        catalog.version + 1,
        max((catalog.next_id, *(identity + 1 for identity in ids))),
        pages,
        rows=batch() if paged else rows,
    )
    page_rows = [rows] if paged else []
    attempt = CommitWriter(log).prepare(changes, page_rows)
    if not CommitWriter(log).commit(attempt):
        return None
    catalog.apply(attempt.changes, page_rows)
    return attempt


def compact(log, catalog, keep_versions=1):
    """Remove what older versions need; return the bytes and what was tombstoned."""
    collector = Collector(Retention(keep_versions, 0))
    collector.list_files(log.storage)
    tombstoned = collector.tombstone(Tip(log, catalog, []), [])
    if tombstoned:
        attempt = CommitWriter(log).prepare(
            Changes(catalog.version + 1, catalog.next_id, tombstoned=tombstoned), [], action="compact"
        )
        assert CommitWriter(log).commit(attempt)
        catalog.apply(attempt.changes, [])
    report = collector.finish(CommitWriter(log), catalog, tombstoned=bool(tombstoned))
    return report.bytes_freed, tombstoned


@every_encoding
def test_an_empty_store_is_one_document(encoding):
    storage = MemoryStorage()
    log, catalog = make(storage, StoreConfig("zstd", "auto", encoding))
    assert storage.list("") == [encoding.checkpoint]
    assert (catalog.version, catalog.next_id) == (0, 0)
    found, again = CommitLog.open(storage)
    assert found.config == log.config
    assert (again.version, len(again)) == (0, 0)


@every_encoding
def test_commits_after_the_checkpoint_are_found_by_number(encoding):
    storage = MemoryStorage()
    log, catalog = make(storage, StoreConfig("zstd", "auto", encoding))
    commit(log, catalog, 0, 1)
    commit(log, catalog, 2, 3, 4, paged=True)
    assert storage.list("commits") == [f"commits/{n:020d}{encoding.extension}" for n in (1, 2)]
    (page,) = storage.list("pages")
    assert page.endswith(encoding.compressed().extension)
    _, again = CommitLog.open(storage)
    assert (again.version, again.names) == (2, ["d0", "d1", "d2", "d3", "d4"])
    assert CommitWriter(log).checkpoint(catalog, force=True)
    storage.delete(storage.list("commits"))
    _, again = CommitLog.open(storage)
    assert (again.version, again.names) == (2, ["d0", "d1", "d2", "d3", "d4"])


def test_the_last_commit_ends_them():
    storage = MemoryStorage()
    log, catalog = make(storage)
    for identity in range(4):
        commit(log, catalog, identity)
    storage.delete(["commits/00000000000000000004.json"])
    assert CommitLog.open(storage)[1].version == 3


@pytest.mark.parametrize("lost", [1, 2, 3, 6, 7])
def test_a_lost_commit_of_which_there_are_later_ones_is_damage(lost):
    storage = MemoryStorage()
    log, catalog = make(storage)
    handle = CommitLog.open(storage)
    for identity in range(8):
        commit(log, catalog, identity)
    key = log.commit_key(lost)
    storage.delete([key])
    for look in (lambda: CommitLog.open(storage), lambda: handle[0].advance(handle[1])):
        with pytest.raises(CorruptStoreError, match=f"{key} is missing"):
            look()
    assert CommitLog.open(storage, lost - 1)[1].version == lost - 1


def test_commits_that_are_made_while_they_are_looked_for_are_no_gap():
    class Busy(MemoryStorage):
        def read(self, key):
            if key == "commits/00000000000000000001.json" and not made:
                made.append(key)
                try:
                    return super().read(key)
                finally:
                    commit(log, catalog, 0)
                    commit(log, catalog, 1)
            return super().read(key)

    made = [""]
    storage = Busy()
    log, catalog = make(storage)
    made.clear()
    assert CommitLog.open(storage)[1].version in {0, 2}
    assert made


def test_a_version_is_opened_while_it_is_kept():
    storage = MemoryStorage()
    log, catalog = make(storage)
    for identity in range(5):
        commit(log, catalog, identity)
    CommitWriter(log).checkpoint(catalog, force=True)
    for version in range(6):
        assert CommitLog.open(storage, version)[1].ids.tolist() == list(range(version))
    compact(log, catalog, 2)
    for version in (4, 5):
        assert CommitLog.open(storage, version)[1].ids.tolist() == list(range(version))
    assert len(CommitLog.open(storage)[1]) == 5
    for version in (3, 6):
        with pytest.raises(VersionNotFoundError, match=f"no version {version}: it keeps versions 4 to 5"):
            CommitLog.open(storage, version)


def test_a_checkpoint_that_is_written_late_hides_no_later_version():
    storage = MemoryStorage()
    log, catalog = make(storage)
    for identity in range(5):
        commit(log, catalog, identity)
        if identity == 1:
            late = CommitWriter(log).sum_up(catalog)
    compact(log, catalog)
    compact(*CommitLog.open(storage))
    commit(log, catalog, 5)
    compact(log, catalog)
    storage.replace("atlas.json", late)
    assert CommitLog.open(storage)[1].ids.tolist() == [0, 1, 2, 3, 4, 5]
    commit(log, catalog, 6)
    assert CommitLog.open(storage)[1].ids.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_checkpoint_whose_pages_are_gone_is_skipped():
    storage = MemoryStorage()
    log, catalog = make(storage)
    commit(log, catalog, 0, 1)
    commit(log, catalog, 2)
    catalog.record_pages([CommitWriter(log).write_page(catalog.rows(catalog.live_rows()))], replace=False)
    storage.replace("atlas.json", CommitWriter(log).sum_up(catalog))
    assert CommitLog.open(storage)[1].ids.tolist() == [0, 1, 2]
    storage.delete(storage.list("pages"))
    assert CommitLog.open(storage)[1].ids.tolist() == [0, 1, 2]


def test_a_reader_that_is_overtaken_by_a_compaction_begins_again():
    class Overtaken(MemoryStorage):
        def read(self, key):
            data = super().read(key)
            if key == "atlas.json" and not done:
                done.append(key)
                compact(log, catalog)
            return data

    done = [""]
    storage = Overtaken()
    log, catalog = make(storage)
    commit(log, catalog, 0, 1, paged=True)
    commit(log, catalog, 2)
    done.clear()
    assert CommitLog.open(storage)[1].ids.tolist() == [0, 1, 2]
    assert done == ["atlas.json"]


def test_a_number_that_a_compaction_has_freed_makes_no_version():
    storage = MemoryStorage()
    log, catalog = make(storage)
    asleep = CommitLog.open(storage)
    for identity in range(3):
        commit(log, catalog, identity)
    compact(log, catalog)
    assert f"commits/{1:020d}.json" not in storage.list("commits")
    assert commit(*asleep, 0) is None
    assert f"commits/{1:020d}.json" not in storage.list("commits")
    _, tip, commits = asleep[0].advance(asleep[1])
    assert (tip.ids.tolist(), commits) == ([0, 1, 2], None)


def test_a_commit_whose_answer_was_lost_is_known_after_a_compaction():
    storage = MemoryStorage()
    log, _ = make(storage)
    lost = CommitWriter(CommitLog.open(storage)[0]).prepare(Changes(1, 1, rows=batch(0)), [])
    other = CommitWriter(CommitLog.open(storage)[0]).prepare(Changes(1, 1, rows=batch(0)), [])
    storage.create(log.commit_key(1), lost.data)
    again, tip = CommitLog.open(storage)
    commit(again, tip, 1)
    compact(again, tip)
    assert storage.list("commits") == [again.commit_key(2)]
    assert (CommitWriter(log).landed(lost), CommitWriter(log).landed(other)) == (True, False)
    assert CommitWriter(log).commit(lost)
    assert not CommitWriter(log).commit(other)


def test_opening_an_empty_location_raises():
    with pytest.raises(StoreNotFoundError, match=r"holds no atlas\.json"):
        CommitLog.open(MemoryStorage())


def test_a_store_is_not_created_twice():
    storage = MemoryStorage()
    make(storage)
    for encoding in CHECKPOINT_NAMES.values():
        with pytest.raises(StoreExistsError, match="there is a store"):
            make(storage, StoreConfig("zstd", "auto", encoding))


def test_of_two_that_create_at_once_one_wins():
    class Late(MemoryStorage):
        def create(self, key, data):
            make_other = super().create
            make_other(other, b"another")
            return super().create(key, data)

    for other in ("atlas.json", "atlas.msgpack"):
        storage = Late()
        with pytest.raises(StoreExistsError, match="has just created"):
            make(storage)
        assert storage.list() == [other]


@every_encoding
def test_overwriting_leaves_an_empty_store_of_a_later_version(encoding):
    storage = MemoryStorage()
    log, catalog = make(storage)
    commit(log, catalog, 0, 1, 2, paged=True)
    storage.write("arrays/t/a.seg", [b"data"])
    storage.write("unrelated", [b"kept"])
    _, fresh = create_store(storage, StoreConfig("none", "none", encoding), overwrite=True)
    assert (fresh.version, len(fresh)) == (2, 0)
    assert [key for key in storage.list("") if "/" not in key] == sorted([encoding.checkpoint, "unrelated"])
    assert storage.list("arrays") == []
    again, found = CommitLog.open(storage)
    assert (found.version, len(found), again.config) == (2, 0, StoreConfig("none", "none", encoding))
    commit(again, found, 7)
    assert CommitLog.open(storage)[1].names == ["d7"]


@every_encoding
def test_an_interrupted_overwrite_is_finished_by_the_next_writer(encoding):
    class CutOff(MemoryStorage):
        def write(self, key, parts):
            if cut:
                raise StorageError("killed")
            return super().write(key, parts)

        def replace(self, key, data):
            if cut:
                raise StorageError("killed")
            super().replace(key, data)

    cut = False
    storage = CutOff()
    log, catalog = make(storage)
    commit(log, catalog, 0)
    cut = True
    create_store(storage, StoreConfig("none", "none", encoding), overwrite=True)
    assert "atlas.json" in storage.list()
    assert (len(CommitLog.open(storage)[1]), CommitLog.open(storage)[0].config.encoding) == (0, encoding)
    again, found = CommitLog.open(storage)
    commit(again, found, 1)
    cut = False
    assert CommitLog.open(storage)[1].names == ["d1"]
    assert CommitWriter(again).checkpoint(found, force=True)
    assert [key for key in storage.list("") if "/" not in key] == [encoding.checkpoint]
    assert CommitLog.open(storage)[1].names == ["d1"]


def test_a_damaged_store_can_be_overwritten():
    storage = MemoryStorage()
    log, catalog = make(storage)
    commit(log, catalog, 0)
    storage.replace("atlas.json", b"garbage")
    _, fresh = create_store(storage, CONFIG, overwrite=True)
    assert fresh.version == 2


def test_overwriting_an_empty_location_creates_a_store():
    assert create_store(MemoryStorage(), CONFIG, overwrite=True)[1].version == 0


def test_of_two_checkpoints_the_later_is_used():
    storage = MemoryStorage()
    log, catalog = make(storage)
    commit(log, catalog, 0)
    old = storage.read("atlas.json")
    create_store(storage, StoreConfig("none", "auto", Encoding("msgpack", ".zst")), overwrite=True)
    storage.replace("atlas.json", old)
    log, catalog = CommitLog.open(storage)
    assert (log.config.encoding, catalog.version) == (Encoding("msgpack", ".zst"), 2)


def test_a_version_is_made_once():
    storage = MemoryStorage()
    first, one = make(storage)
    second, two = CommitLog.open(storage)
    commit(first, one, 0)
    before = {key: storage.read(key) for key in storage.list("")}
    assert commit(second, two, 1) is None
    assert {key: storage.read(key) for key in storage.list("")} == before


def test_a_repeated_create_recognises_its_own_commit():
    storage = MemoryStorage()
    log, catalog = make(storage)
    attempt = commit(log, catalog, 0)
    assert CommitWriter(log).commit(attempt)
    assert CommitWriter(log).landed(attempt)


def test_landed_says_whether_a_commit_was_made():
    storage = MemoryStorage()
    log, _ = make(storage)
    changes = Changes(1, 1, rows=batch(0))
    mine, theirs = (CommitWriter(log).prepare(changes, []) for _ in range(2))
    assert mine.data != theirs.data
    assert CommitWriter(log).landed(mine) is False
    CommitWriter(log).commit(theirs)
    assert (CommitWriter(log).landed(mine), CommitWriter(log).landed(theirs)) == (False, True)

    def fail(key):
        raise StorageError("down")

    storage.read = fail
    assert CommitWriter(log).landed(mine) is None


def test_checkpoints_lag_behind_and_readers_take_the_commits_after_them():
    storage = MemoryStorage()
    log, catalog = make(storage)
    for at in range(7):
        commit(log, catalog, at)
        assert not CommitWriter(log).checkpoint(catalog)
        assert len(CommitLog.open(storage)[1]) == at + 1
    assert [len(CommitLog.open(storage, version)[1]) for version in range(8)] == list(range(8))
    commit(log, catalog, 7)
    assert CommitWriter(log).checkpoint(catalog)
    log.limits = Limits(small_checkpoint=0)
    commit(log, catalog, *range(8, 300))
    assert CommitWriter(log).checkpoint(catalog)
    commit(log, catalog, 300)
    assert not CommitWriter(log).checkpoint(catalog)
    assert CommitWriter(log).checkpoint(catalog, force=True)
    commit(log, catalog, 301)
    reopened, again = CommitLog.open(storage, limits=log.limits)
    assert (again.version, len(again)) == (11, 302)
    assert not CommitWriter(reopened).checkpoint(again)


def test_a_checkpoint_that_cannot_be_written_is_only_logged(caplog):
    storage = MemoryStorage()
    log, catalog = make(storage)
    commit(log, catalog, 0)

    def fail(key, data):
        raise StorageError("disk full")

    storage.replace = fail
    with caplog.at_level(logging.WARNING, "atlas"):
        assert not CommitWriter(log).checkpoint(catalog, force=True)
    assert "could not be rewritten: disk full" in caplog.text
    assert CommitLog.open(storage)[1].names == ["d0"]


def test_a_compaction_removes_what_no_kept_version_needs():
    storage = MemoryStorage()
    log, catalog = make(storage)
    commit(log, catalog, 0, 1, 2, paged=True)
    commit(log, catalog, 3)
    storage.write("arrays/t/orphan.seg", [b"12345"])
    storage.write("pages/orphan.json.zst", [b"123"])
    gone = sum(storage.size(log.commit_key(version)) for version in (1, 2))
    reclaimed, tombstoned = compact(log, catalog)
    assert (reclaimed, tombstoned) == (8 + gone, ("arrays/t/orphan.seg", "pages/orphan.json.zst"))
    assert len(storage.list("pages")) == 1
    assert storage.list("commits") == [log.commit_key(3)]
    assert CommitLog.open(storage)[1].names == ["d0", "d1", "d2", "d3"]
    assert compact(log, catalog) == (0, ())


def test_versions_that_are_kept_keep_their_files():
    storage = MemoryStorage()
    log, catalog = make(storage)
    for identity in range(4):
        commit(log, catalog, identity, paged=True)
    gone = storage.size(log.commit_key(1))
    assert compact(log, catalog, 3) == (gone, ())
    assert len(storage.list("pages")) == 4
    for version in (2, 3, 4):
        assert CommitLog.open(storage, version)[1].ids.tolist() == list(range(version))


# Damage


def stored(encoding=CONFIG.encoding):
    storage = MemoryStorage()
    log, catalog = make(storage, StoreConfig("zstd", "auto", encoding))
    commit(log, catalog, 0, 1, 2, paged=True)
    CommitWriter(log).checkpoint(catalog, force=True)
    commit(log, catalog, 3, 4)
    return storage


@every_encoding
def test_damage_of_any_document_is_named(encoding):
    storage = stored(encoding)
    keys = [encoding.checkpoint, *storage.list("pages"), f"commits/{2:020d}{encoding.extension}"]
    for key in keys:
        data = storage.read(key)
        for damaged in (
            data[: len(data) // 2],
            b"",
            bytes(len(data)),
            data[:-9] + bytes([data[-9] ^ 0x55]) + data[-8:],
        ):
            storage.replace(key, damaged)
            with pytest.raises(CorruptStoreError) as caught:
                CommitLog.open(storage)
            assert caught.value.key == key
            assert key in str(caught.value)
        storage.replace(key, data)
    assert len(CommitLog.open(storage)[1]) == 5


def test_a_missing_page_is_damage_and_drops_no_datasets():
    storage = stored()
    (page,) = storage.list("pages")
    storage.delete([page])
    with pytest.raises(CorruptStoreError, match="is missing") as caught:
        CommitLog.open(storage)
    assert caught.value.key == page


def rewritten(storage, key, change, encoding=CONFIG.encoding):
    document = encoding.decode(storage.read(key))
    document.update(change)
    storage.replace(key, encoding.encode(document))
    return storage


@pytest.mark.parametrize("key", ["atlas.json", "commits/00000000000000000002.json"])
def test_a_later_format_is_refused_as_such(key):
    with pytest.raises(UnsupportedFormatError, match="newer atlas-store") as caught:
        CommitLog.open(rewritten(stored(), key, {"format": 2}))
    assert key in str(caught.value)


@pytest.mark.parametrize("change", [{"codec": "gzip"}, {"codec": None}, {"filter": 1}, {"filter": "AUTO"}])
def test_an_unknown_codec_or_filter_is_damage(change):
    with pytest.raises(CorruptStoreError, match=r"atlas\.json is damaged"):
        CommitLog.open(rewritten(stored(), "atlas.json", change))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"next_id": 4},
        {"deleted": [9]},
        {"deleted": [3]},
        {"pages": [{"key": "pages/none", "rows": 1, "first": 5, "last": 5}]},
    ],
)
def test_a_commit_that_contradicts_the_checkpoint_is_named(change):
    key = "commits/00000000000000000002.json"
    with pytest.raises(CorruptStoreError) as caught:
        CommitLog.open(rewritten(stored(), key, change))
    assert caught.value.key in {key, "pages/none"}


def test_a_store_of_atlas_python_is_recognised():
    storage = MemoryStorage()
    storage.create("atlas.json", orjson.dumps({"version": 1, "codec": "zstd", "datasets": {"a": {}}}))
    with pytest.raises(UnsupportedFormatError, match="store of atlas-python"):
        CommitLog.open(storage)


def test_names_are_unique():
    assert len({unique_name() for _ in range(1000)}) == 1000


def test_pages_refer_to_what_they_hold():
    log, _ = make(MemoryStorage())
    page = CommitWriter(log).write_page(batch(4, 7, 9))
    assert (page.rows, page.first, page.last) == (3, 4, 9)
    np.testing.assert_array_equal(log.read_pages(Changes(1, 10, (page,)))[0].ids, [4, 7, 9])


def test_many_threads_may_ask_for_the_base_at_once():
    storage = MemoryStorage()
    log, catalog = make(storage)
    asked, _ = CommitLog.open(storage)
    for identity in range(2):
        commit(log, catalog, identity)
        assert CommitWriter(log).advance_base(log.base, catalog)
    original, done = storage.read, []

    def overtaken(key):
        data = original(key)
        if key.startswith("bases/") and not done:
            done.append(True)
            assert asked.find_base() == log.base  # another thread is faster
        return data

    storage.read = overtaken
    assert asked.find_base() == asked.base == log.base
    assert asked.has_moved_past(1)
    assert done


@pytest.mark.parametrize("written", ["checkpoint", "base"])
def test_a_base_that_another_thread_finds_meanwhile_is_in_no_document_of_an_earlier_version(written):
    class Overtaken(MemoryStorage):
        def replace(self, key, data):
            if key.startswith("pages/") and not done:
                done.append(key)
                commit(other, tip, 3)
                compact(other, tip)
                log.find_base()  # as a reader of this handle does, which takes no lock
            super().replace(key, data)

    done, storage = [], Overtaken()
    log, catalog = make(storage)
    for identity in range(3):
        commit(log, catalog, identity)
    log.limits = Limits(page_rows=1)
    other, tip = CommitLog.open(storage)
    writer = CommitWriter(log)
    made = writer.checkpoint(catalog, force=True) if written == "checkpoint" else writer.advance_base(log.base, catalog)
    assert done
    assert not made
    for identity in (4, 5):
        commit(other, tip, identity)
        assert CommitLog.open(storage)[1].ids.tolist() == list(range(identity + 1))
    compact(other, tip)
    assert CommitLog.open(storage)[1].ids.tolist() == list(range(6))
