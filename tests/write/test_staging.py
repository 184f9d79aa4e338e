"""Pending chunks read as what was written, encoded, spilled, replaced or dropped, and so does the segment made."""

from __future__ import annotations

import contextlib
import os
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog.chunk_index import ChunkIndex, load_segment
from atlas.chunking.regions import plan_region
from atlas.errors import StorageError
from atlas.format.schema import make_schema
from atlas.format.segment import SegmentRef, decode_footer
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from atlas.write import staging as staging_module
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk
from atlas.write.staging import Staging

SCHEMA = make_schema("int32", ["x"], [10], [4], -1)
TEXT = make_schema("string", ["x"], [10], [4], "?")
CHUNKS = [4, 4, 2]


def cells_of(schema, chunk, value):
    if schema is TEXT:
        return np.array([f"{value}é{at % 2}" for at in range(CHUNKS[chunk])], object)
    return np.arange(CHUNKS[chunk], dtype="i4") * (value % 3) + value


def targets(schema, ids):
    ids = np.array(ids, np.int64)
    return Targets("t", schema, ids, np.zeros(len(ids), np.int64), str)


def read_staging(staging, schema, ids):
    region = plan_region(schema, (0,), (10,))
    table = staging.encoded_index()
    out = read_boxes([] if table is None else [table], targets(schema, ids), region)
    staging.overlay_of(ids)(out, ids, region)
    return out


def read_draft(draft, schema, ids):
    place = MemoryStorage()
    size = place.write("arrays/t/a.seg", draft.parts())
    assert size == draft.size
    assert decode_footer(place.read("arrays/t/a.seg")[-64:], size) == draft.footer
    ref = SegmentRef("t", "arrays/t/a.seg", size, draft.footer)
    source, rows = load_segment(place, ref)
    table = ChunkIndex.of([(source, rows)])
    return read_boxes([table], targets(schema, ids), plan_region(schema, (0,), (10,))), source


@pytest.mark.parametrize("schema", [SCHEMA, TEXT], ids=["int32", "string"])
@pytest.mark.parametrize(
    ("codec", "kind"),
    [("zstd", "auto"), ("lz4", "bitshuffle"), ("none", "none"), ("zstd", "byteshuffle"), ("lz4", "delta")],
)
@given(data=st.data())
def test_what_is_pending_reads_alike_at_every_stage(schema, codec, kind, data):
    with contextlib.closing(Staging("t", codec, kind, TemporaryFile)) as staging:
        write_and_read(staging, schema, data)


def write_and_read(staging, schema, data):
    ids = [0, 1, 7]
    fill = schema.fill
    expected = {identity: [[fill] * n for n in CHUNKS] for identity in ids}
    for value in range(data.draw(st.integers(0, 12))):
        action = data.draw(st.sampled_from(["put", "put", "put", "encode", "spill", "drop"]))
        identity = data.draw(st.sampled_from(ids))
        if action == "put":
            chunk = data.draw(st.integers(0, 2))
            cells = cells_of(schema, chunk, value)
            expected[identity][chunk] = cells.tolist()
            staging.put(identity, chunk, PendingChunk(schema, 0, cells))
        elif action == "drop":
            staging.drop(identity)
            expected[identity] = [[fill] * n for n in CHUNKS]
        else:
            staging.encode()
            assert staging.raw_bytes == 0
            if action == "spill":
                staging.spill()
                assert staging.encoded_bytes == 0
    wanted = [[cell for chunk in expected[identity] for cell in chunk] for identity in ids]
    assert read_staging(staging, schema, ids).tolist() == wanted
    draft = staging.draft(None)
    if draft is None:
        assert all(cell == fill for row in wanted for cell in row)
    else:
        out, source = read_draft(draft, schema, ids)
        assert out.tolist() == wanted
        used = set(draft.rows.block[draft.rows.block >= 0].tolist())
        assert used == set(range(len(source.blocks)))


def test_a_replaced_chunk_counts_once():
    staging = Staging("t", "zstd", "auto", TemporaryFile)
    for value in range(5):
        staging.put(0, 0, PendingChunk(SCHEMA, 0, cells_of(SCHEMA, 0, value)))
    assert staging.raw_bytes == 16
    staging.drop(0)
    assert staging.raw_bytes == 0
    assert staging.draft(None) is None
    assert staging.encoded_index() is None


def test_blocks_of_replaced_and_dropped_chunks_are_not_written():
    schema = make_schema("float64", ["x"], [16_000])
    rng = np.random.default_rng(1)
    staging = Staging("t", "none", "none", TemporaryFile)
    for _ in range(3):
        cells = rng.random(16_000)
        staging.put(0, 0, PendingChunk(schema, 0, cells))
        staging.put(1, 0, PendingChunk(schema, 0, rng.random(16_000)))
        staging.encode()
    staging.drop(1)
    draft = staging.draft(None)
    assert len(draft.blocks) == 1
    assert draft.size < 160_000
    place = MemoryStorage()
    place.write("arrays/t/a.seg", draft.parts())
    ref = SegmentRef("t", "arrays/t/a.seg", draft.size, draft.footer)
    table = ChunkIndex.of([load_segment(place, ref)])
    out = read_boxes([table], targets(schema, [0]), plan_region(schema, (0,), (16_000,)))
    np.testing.assert_array_equal(out[0], cells)
    staging.close()


def test_the_blocks_of_a_cut_chunk_live_and_die_together():
    schema = make_schema("int64", ["x"], [200_000])
    staging = Staging("t", "zstd", "none", TemporaryFile)
    rng = np.random.default_rng(1)
    old, new = rng.integers(0, 9, (2, 200_000))
    other = rng.integers(0, 9, 200_000)
    staging.put(5, 0, PendingChunk(schema, 0, old))
    staging.put(6, 0, PendingChunk(schema, 0, other))
    staging.encode()
    staging.spill()
    staging.put(5, 0, PendingChunk(schema, 0, new))
    draft = staging.draft(None)
    assert len(draft.blocks) == 2 * 25
    place = MemoryStorage()
    place.write("arrays/t/a.seg", draft.parts())
    ref = SegmentRef("t", "arrays/t/a.seg", draft.size, draft.footer)
    table = ChunkIndex.of([load_segment(place, ref)])
    out = read_boxes([table], targets(schema, [5, 6]), plan_region(schema, (0,), (200_000,)))
    np.testing.assert_array_equal(out, [new, other])
    staging.close()


def test_only_constants_make_a_segment_without_blocks():
    staging = Staging("t", "zstd", "auto", TemporaryFile)
    staging.put(3, 1, PendingChunk(SCHEMA, 0, np.full(4, 9, "i4")))
    draft = staging.draft(None)
    assert len(draft.blocks) == 0
    assert read_draft(draft, SCHEMA, [3])[0].tolist() == [[-1] * 4 + [9] * 4 + [-1] * 2]


def run_of(schema, values, ids):
    count = np.full(len(ids), schema.size)
    keys = ChunkKeys(np.array(ids), np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64))
    return ChunkRun(schema, keys, count, lambda: values)


@pytest.mark.parametrize("most", [1 << 20, 32 << 20])
def test_a_run_of_any_size_is_encoded_within_bounds(most, monkeypatch):
    limits = Limits(parallel_bytes=most, large_bytes=most // 2)
    schema = make_schema("int64", ["x"], [300_000])
    values = np.random.default_rng(1).integers(0, 2**63, (3, 300_000))
    values[1] = 7
    staging = Staging("t", "zstd", "none", TemporaryFile, limits=limits)
    staging.put(4, 0, PendingChunk(SCHEMA, 0, np.zeros(4, "i4")))
    held = []
    spill = staging.spill
    monkeypatch.setattr(staging, "spill", lambda: held.append(staging.encoded_bytes) or spill())
    staging.put_runs([run_of(schema, values.reshape(-1), [1, 2, 3])], lambda: None)
    assert len(held) == (10 if most == 1 << 20 else 0)
    assert max(held, default=0) <= most
    staging.put(3, 0, PendingChunk(schema, 0, values[0].copy()))
    staging.encode()
    draft = staging.draft(None)
    place = MemoryStorage()
    draft.write(place, "arrays/t/a.seg")
    table = ChunkIndex.of([load_segment(place, SegmentRef("t", "arrays/t/a.seg", draft.size, draft.footer))])
    out = read_boxes([table], targets(schema, [1, 2, 3]), plan_region(schema, (0,), (300_000,)))
    np.testing.assert_array_equal(out, values[[0, 1, 0]])
    staging.close()


def test_a_run_takes_the_place_of_what_waited():
    staging = Staging("t", "zstd", "none", TemporaryFile)
    schema = make_schema("int32", ["x"], [4])
    staging.put(1, 0, PendingChunk(schema, 0, np.arange(4, dtype="i4")))
    staging.put(2, 0, PendingChunk(schema, 0, np.arange(4, dtype="i4")))
    staging.put_runs([run_of(schema, np.full(4, 9, "i4"), [1])], lambda: None)
    assert staging.raw_bytes == 16
    region = plan_region(schema, (0,), (4,))
    out = read_boxes([staging.encoded_index()], targets(schema, [1, 2]), region)
    staging.overlay_of([1, 2])(out, [1, 2], region)
    assert out.tolist() == [[9] * 4, [0, 1, 2, 3]]
    staging.close()


@pytest.fixture
def spilled(tmp_path):
    """A staging of 40 KiB of which the first 20 are in a file, and that file."""
    files = []

    def open_file():
        files.append(TemporaryFile(dir=tmp_path, buffering=0))  # noqa: SIM115 - the staging closes it
        return files[-1]

    long = make_schema("int32", ["x"], [5120], [5120], -1)
    staging = Staging("t", "none", "none", open_file)
    for dataset in (0, 1):
        staging.put(dataset, 0, PendingChunk(long, 0, np.arange(5120, dtype="i4") + dataset))
        staging.encode()
        if dataset == 0:
            staging.spill()
    draft = staging.draft(None)
    yield draft, files[0]
    staging.close()


def test_what_is_copied_from_a_temporary_file_is_what_was_encoded(spilled):
    draft, _ = spilled
    data = b"".join(bytes(part) for part in draft.parts())
    assert len(data) == draft.size
    assert np.arange(5120, dtype="i4").tobytes() in data


@pytest.mark.parametrize("change", [lambda f: os.pwrite(f, b"\0" * 4096, 8192), lambda f: os.truncate(f, 8192)])
def test_a_disk_that_lost_what_was_spilled_is_an_error_and_nothing_wrong_is_committed(spilled, change):
    draft, file = spilled
    list(draft.parts())  # waits until the file is written
    change(file.fileno())
    with pytest.raises(StorageError, match="temporary file of pending data"):
        draft.write(MemoryStorage(), "arrays/t/a.seg")


@pytest.mark.parametrize(("threads", "expected"), [(1, [1, 2, 2, 2, 2]), (2, [1, 4, 4]), (64, [1, 8])])
def test_lots_hold_two_runs_a_thread_within_bounds(threads, expected, monkeypatch):
    monkeypatch.setattr(staging_module, "thread_count", lambda: threads)
    long = make_schema("uint8", ["x"], [Limits().run_bytes])
    run = run_of(long, None, [0])
    assert [len(lot) for lot in staging_module._parallel_batches([run] * 9, Limits())] == expected
