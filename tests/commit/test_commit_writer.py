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
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from atlas.storage.keys import unique_name

CONFIG = StoreConfig("lz4", "bitshuffle", Encoding("json", ""))
every_encoding = pytest.mark.parametrize("encoding", CHECKPOINT_NAMES.values(), ids=CHECKPOINT_NAMES)


def batch(*ids):
    each = np.arange(len(ids))
    attributes = [{"n": identity} for identity in ids]
    return build_rows(np.array(ids), [f"d{identity}" for identity in ids], [()], each * 0, attributes, each)


def make(place, config=CONFIG):
    return create_store(place, config, overwrite=False)


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
    collector = Collector(keep_versions, 0)
    collector.list_files(log.storage)
    tombstoned = collector.tombstone(Tip(log, catalog, []), [])
    if tombstoned:
        attempt = CommitWriter(log).prepare(
            Changes(catalog.version + 1, catalog.next_id, tombstoned=tombstoned), [], action="compact"
        )
        assert CommitWriter(log).commit(attempt)
        catalog.apply(attempt.changes, [])
    return collector.finish(CommitWriter(log), catalog, tombstoned=bool(tombstoned)), tombstoned


@every_encoding
def test_an_empty_store_is_one_document(encoding):
    place = MemoryStorage()
    log, catalog = make(place, StoreConfig("zstd", "auto", encoding))
    assert place.list("") == [encoding.checkpoint]
    assert (catalog.version, catalog.next_id) == (0, 0)
    found, again = CommitLog.open(place)
    assert found.config == log.config
    assert (again.version, len(again)) == (0, 0)


@every_encoding
def test_commits_after_the_checkpoint_are_found_by_number(encoding):
    place = MemoryStorage()
    log, catalog = make(place, StoreConfig("zstd", "auto", encoding))
    commit(log, catalog, 0, 1)
    commit(log, catalog, 2, 3, 4, paged=True)
    assert place.list("commits") == [f"commits/{n:020d}{encoding.extension}" for n in (1, 2)]
    (page,) = place.list("pages")
    assert page.endswith(encoding.compressed().extension)
    _, again = CommitLog.open(place)
    assert (again.version, again.names) == (2, ["d0", "d1", "d2", "d3", "d4"])
    assert CommitWriter(log).checkpoint(catalog, force=True)
    place.delete(place.list("commits"))
    _, again = CommitLog.open(place)
    assert (again.version, again.names) == (2, ["d0", "d1", "d2", "d3", "d4"])


def test_the_last_commit_ends_them():
    place = MemoryStorage()
    log, catalog = make(place)
    for identity in range(4):
        commit(log, catalog, identity)
    place.delete(["commits/00000000000000000004.json"])
    assert CommitLog.open(place)[1].version == 3


@pytest.mark.parametrize("lost", [1, 2, 3, 6, 7])
def test_a_lost_commit_of_which_there_are_later_ones_is_damage(lost):
    place = MemoryStorage()
    log, catalog = make(place)
    handle = CommitLog.open(place)
    for identity in range(8):
        commit(log, catalog, identity)
    key = log.commit_key(lost)
    place.delete([key])
    for look in (lambda: CommitLog.open(place), lambda: handle[0].advance(handle[1])):
        with pytest.raises(CorruptStoreError, match=f"{key} is missing"):
            look()
    assert CommitLog.open(place, lost - 1)[1].version == lost - 1


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
    place = Busy()
    log, catalog = make(place)
    made.clear()
    assert CommitLog.open(place)[1].version in {0, 2}
    assert made


def test_a_version_is_opened_while_it_is_kept():
    place = MemoryStorage()
    log, catalog = make(place)
    for identity in range(5):
        commit(log, catalog, identity)
    CommitWriter(log).checkpoint(catalog, force=True)
    for version in range(6):
        assert CommitLog.open(place, version)[1].ids.tolist() == list(range(version))
    compact(log, catalog, 2)
    for version in (4, 5):
        assert CommitLog.open(place, version)[1].ids.tolist() == list(range(version))
    assert len(CommitLog.open(place)[1]) == 5
    for version in (3, 6):
        with pytest.raises(VersionNotFoundError, match=f"no version {version}: it keeps versions 4 to 5"):
            CommitLog.open(place, version)


def test_a_checkpoint_that_is_written_late_hides_no_later_version():
    place = MemoryStorage()
    log, catalog = make(place)
    for identity in range(5):
        commit(log, catalog, identity)
        if identity == 1:
            late = CommitWriter(log).sum_up(catalog)
    compact(log, catalog)
    compact(*CommitLog.open(place))
    commit(log, catalog, 5)
    compact(log, catalog)
    place.replace("atlas.json", late)
    assert CommitLog.open(place)[1].ids.tolist() == [0, 1, 2, 3, 4, 5]
    commit(log, catalog, 6)
    assert CommitLog.open(place)[1].ids.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_checkpoint_whose_pages_are_gone_is_passed_over():
    place = MemoryStorage()
    log, catalog = make(place)
    commit(log, catalog, 0, 1)
    commit(log, catalog, 2)
    catalog.record_pages([CommitWriter(log).write_page(catalog.rows(catalog.live_rows()))], replace=False)
    place.replace("atlas.json", CommitWriter(log).sum_up(catalog))
    assert CommitLog.open(place)[1].ids.tolist() == [0, 1, 2]
    place.delete(place.list("pages"))
    assert CommitLog.open(place)[1].ids.tolist() == [0, 1, 2]


def test_a_reader_that_is_overtaken_by_a_compaction_begins_again():
    class Overtaken(MemoryStorage):
        def read(self, key):
            data = super().read(key)
            if key == "atlas.json" and not done:
                done.append(key)
                compact(log, catalog)
            return data

    done = [""]
    place = Overtaken()
    log, catalog = make(place)
    commit(log, catalog, 0, 1, paged=True)
    commit(log, catalog, 2)
    done.clear()
    assert CommitLog.open(place)[1].ids.tolist() == [0, 1, 2]
    assert done == ["atlas.json"]


def test_a_number_that_a_compaction_has_freed_makes_no_version():
    place = MemoryStorage()
    log, catalog = make(place)
    asleep = CommitLog.open(place)
    for identity in range(3):
        commit(log, catalog, identity)
    compact(log, catalog)
    assert f"commits/{1:020d}.json" not in place.list("commits")
    assert commit(*asleep, 0) is None
    assert f"commits/{1:020d}.json" not in place.list("commits")
    _, tip, commits = asleep[0].advance(asleep[1])
    assert (tip.ids.tolist(), commits) == ([0, 1, 2], None)


def test_a_commit_whose_answer_was_lost_is_known_after_a_compaction():
    place = MemoryStorage()
    log, _ = make(place)
    lost = CommitWriter(CommitLog.open(place)[0]).prepare(Changes(1, 1, rows=batch(0)), [])
    other = CommitWriter(CommitLog.open(place)[0]).prepare(Changes(1, 1, rows=batch(0)), [])
    place.create(log.commit_key(1), lost.data)
    again, tip = CommitLog.open(place)
    commit(again, tip, 1)
    compact(again, tip)
    assert place.list("commits") == [again.commit_key(2)]
    assert (CommitWriter(log).landed(lost), CommitWriter(log).landed(other)) == (True, False)
    assert CommitWriter(log).commit(lost)
    assert not CommitWriter(log).commit(other)


def test_nothing_there_is_no_store():
    with pytest.raises(StoreNotFoundError, match=r"holds no atlas\.json"):
        CommitLog.open(MemoryStorage())


def test_a_store_is_not_created_twice():
    place = MemoryStorage()
    make(place)
    for encoding in CHECKPOINT_NAMES.values():
        with pytest.raises(StoreExistsError, match="there is a store"):
            make(place, StoreConfig("zstd", "auto", encoding))


def test_of_two_that_create_at_once_one_wins():
    class Late(MemoryStorage):
        def create(self, key, data):
            make_other = super().create
            make_other(other, b"another")
            return super().create(key, data)

    for other in ("atlas.json", "atlas.msgpack"):
        place = Late()
        with pytest.raises(StoreExistsError, match="has just created"):
            make(place)
        assert place.list() == [other]


@every_encoding
def test_overwriting_leaves_an_empty_store_of_a_later_version(encoding):
    place = MemoryStorage()
    log, catalog = make(place)
    commit(log, catalog, 0, 1, 2, paged=True)
    place.write("arrays/t/a.seg", [b"data"])
    place.write("unrelated", [b"kept"])
    _, fresh = create_store(place, StoreConfig("none", "none", encoding), overwrite=True)
    assert (fresh.version, len(fresh)) == (2, 0)
    assert [key for key in place.list("") if "/" not in key] == sorted([encoding.checkpoint, "unrelated"])
    assert place.list("arrays") == []
    again, found = CommitLog.open(place)
    assert (found.version, len(found), again.config) == (2, 0, StoreConfig("none", "none", encoding))
    commit(again, found, 7)
    assert CommitLog.open(place)[1].names == ["d7"]


@every_encoding
def test_overwriting_that_is_cut_off_is_finished_by_the_next_writer(encoding):
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
    place = CutOff()
    log, catalog = make(place)
    commit(log, catalog, 0)
    cut = True
    create_store(place, StoreConfig("none", "none", encoding), overwrite=True)
    assert "atlas.json" in place.list()
    assert (len(CommitLog.open(place)[1]), CommitLog.open(place)[0].config.encoding) == (0, encoding)
    again, found = CommitLog.open(place)
    commit(again, found, 1)
    cut = False
    assert CommitLog.open(place)[1].names == ["d1"]
    assert CommitWriter(again).checkpoint(found, force=True)
    assert [key for key in place.list("") if "/" not in key] == [encoding.checkpoint]
    assert CommitLog.open(place)[1].names == ["d1"]


def test_overwriting_does_not_need_the_store_to_be_sound():
    place = MemoryStorage()
    log, catalog = make(place)
    commit(log, catalog, 0)
    place.replace("atlas.json", b"garbage")
    _, fresh = create_store(place, CONFIG, overwrite=True)
    assert fresh.version == 2


def test_overwriting_where_nothing_is():
    assert create_store(MemoryStorage(), CONFIG, overwrite=True)[1].version == 0


def test_of_two_checkpoints_the_later_holds():
    place = MemoryStorage()
    log, catalog = make(place)
    commit(log, catalog, 0)
    old = place.read("atlas.json")
    create_store(place, StoreConfig("none", "auto", Encoding("msgpack", ".zst")), overwrite=True)
    place.replace("atlas.json", old)
    log, catalog = CommitLog.open(place)
    assert (log.config.encoding, catalog.version) == (Encoding("msgpack", ".zst"), 2)


def test_a_version_is_made_once():
    place = MemoryStorage()
    first, one = make(place)
    second, two = CommitLog.open(place)
    commit(first, one, 0)
    before = {key: place.read(key) for key in place.list("")}
    assert commit(second, two, 1) is None
    assert {key: place.read(key) for key in place.list("")} == before


def test_a_create_that_is_tried_again_meets_its_own_commit():
    place = MemoryStorage()
    log, catalog = make(place)
    attempt = commit(log, catalog, 0)
    assert CommitWriter(log).commit(attempt)
    assert CommitWriter(log).landed(attempt)


def test_whether_a_commit_landed_can_be_asked():
    place = MemoryStorage()
    log, _ = make(place)
    changes = Changes(1, 1, rows=batch(0))
    mine, theirs = (CommitWriter(log).prepare(changes, []) for _ in range(2))
    assert mine.data != theirs.data
    assert CommitWriter(log).landed(mine) is False
    CommitWriter(log).commit(theirs)
    assert (CommitWriter(log).landed(mine), CommitWriter(log).landed(theirs)) == (False, True)

    def fail(key):
        raise StorageError("down")

    place.read = fail
    assert CommitWriter(log).landed(mine) is None


def test_checkpoints_lag_behind_and_readers_take_the_commits_after_them():
    place = MemoryStorage()
    log, catalog = make(place)
    for at in range(7):
        commit(log, catalog, at)
        assert not CommitWriter(log).checkpoint(catalog)
        assert len(CommitLog.open(place)[1]) == at + 1
    assert [len(CommitLog.open(place, version)[1]) for version in range(8)] == list(range(8))
    commit(log, catalog, 7)
    assert CommitWriter(log).checkpoint(catalog)
    log.limits = Limits(small_checkpoint=0)
    commit(log, catalog, *range(8, 300))
    assert CommitWriter(log).checkpoint(catalog)
    commit(log, catalog, 300)
    assert not CommitWriter(log).checkpoint(catalog)
    assert CommitWriter(log).checkpoint(catalog, force=True)
    commit(log, catalog, 301)
    reopened, again = CommitLog.open(place, limits=log.limits)
    assert (again.version, len(again)) == (11, 302)
    assert not CommitWriter(reopened).checkpoint(again)


def test_a_checkpoint_that_cannot_be_written_is_only_logged(caplog):
    place = MemoryStorage()
    log, catalog = make(place)
    commit(log, catalog, 0)

    def fail(key, data):
        raise StorageError("disk full")

    place.replace = fail
    with caplog.at_level(logging.WARNING, "atlas"):
        assert not CommitWriter(log).checkpoint(catalog, force=True)
    assert "could not be rewritten: disk full" in caplog.text
    assert CommitLog.open(place)[1].names == ["d0"]


def test_a_compaction_removes_what_no_kept_version_needs():
    place = MemoryStorage()
    log, catalog = make(place)
    commit(log, catalog, 0, 1, 2, paged=True)
    commit(log, catalog, 3)
    place.write("arrays/t/orphan.seg", [b"12345"])
    place.write("pages/orphan.json.zst", [b"123"])
    gone = sum(place.size(log.commit_key(version)) for version in (1, 2))
    reclaimed, tombstoned = compact(log, catalog)
    assert (reclaimed, tombstoned) == (8 + gone, ("arrays/t/orphan.seg", "pages/orphan.json.zst"))
    assert len(place.list("pages")) == 1
    assert place.list("commits") == [log.commit_key(3)]
    assert CommitLog.open(place)[1].names == ["d0", "d1", "d2", "d3"]
    assert compact(log, catalog) == (0, ())


def test_versions_that_are_kept_keep_their_files():
    place = MemoryStorage()
    log, catalog = make(place)
    for identity in range(4):
        commit(log, catalog, identity, paged=True)
    gone = place.size(log.commit_key(1))
    assert compact(log, catalog, 3) == (gone, ())
    assert len(place.list("pages")) == 4
    for version in (2, 3, 4):
        assert CommitLog.open(place, version)[1].ids.tolist() == list(range(version))


# Damage


def stored(encoding=CONFIG.encoding):
    place = MemoryStorage()
    log, catalog = make(place, StoreConfig("zstd", "auto", encoding))
    commit(log, catalog, 0, 1, 2, paged=True)
    CommitWriter(log).checkpoint(catalog, force=True)
    commit(log, catalog, 3, 4)
    return place


@every_encoding
def test_damage_of_any_document_is_named(encoding):
    place = stored(encoding)
    keys = [encoding.checkpoint, *place.list("pages"), f"commits/{2:020d}{encoding.extension}"]
    for key in keys:
        data = place.read(key)
        for damaged in (
            data[: len(data) // 2],
            b"",
            bytes(len(data)),
            data[:-9] + bytes([data[-9] ^ 0x55]) + data[-8:],
        ):
            place.replace(key, damaged)
            with pytest.raises(CorruptStoreError) as caught:
                CommitLog.open(place)
            assert caught.value.key == key
            assert key in str(caught.value)
        place.replace(key, data)
    assert len(CommitLog.open(place)[1]) == 5


def test_a_missing_page_is_damage_and_no_lost_datasets():
    place = stored()
    (page,) = place.list("pages")
    place.delete([page])
    with pytest.raises(CorruptStoreError, match="is missing") as caught:
        CommitLog.open(place)
    assert caught.value.key == page


def rewritten(place, key, change, encoding=CONFIG.encoding):
    document = encoding.decode(place.read(key))
    document.update(change)
    place.replace(key, encoding.encode(document))
    return place


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


def test_a_store_of_the_other_system_is_recognised():
    place = MemoryStorage()
    place.create("atlas.json", orjson.dumps({"version": 1, "codec": "zstd", "datasets": {"a": {}}}))
    with pytest.raises(UnsupportedFormatError, match="store of atlas-python"):
        CommitLog.open(place)


def test_names_are_unique():
    assert len({unique_name() for _ in range(1000)}) == 1000


def test_pages_refer_to_what_they_hold():
    log, _ = make(MemoryStorage())
    page = CommitWriter(log).write_page(batch(4, 7, 9))
    assert (page.rows, page.first, page.last) == (3, 4, 9)
    np.testing.assert_array_equal(log.read_pages(Changes(1, 10, (page,)))[0].ids, [4, 7, 9])


def test_many_threads_may_ask_for_the_base_at_once():
    place = MemoryStorage()
    log, catalog = make(place)
    asked, _ = CommitLog.open(place)
    for identity in range(2):
        commit(log, catalog, identity)
        assert CommitWriter(log).advance_base(catalog)
    original, done = place.read, []

    def overtaken(key):
        data = original(key)
        if key.startswith("bases/") and not done:
            done.append(True)
            assert asked.find_base() == log.base  # another thread is faster
        return data

    place.read = overtaken
    assert asked.find_base() == asked.base == log.base
    assert asked.has_moved_past(1)
    assert done
