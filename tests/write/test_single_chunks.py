"""Segments of names with one small chunk each, made together, are byte for byte those that each name has alone."""

from tempfile import TemporaryFile

import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import StorageError
from atlas.format.config import StoreConfig
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.format.schema import make_schema
from atlas.kernels import LEAST_TRIED
from atlas.runtime.limits import DEFAULT
from atlas.storage.memory import MemoryStorage
from atlas.write.encoding import PendingChunk
from atlas.write.pending import PendingWrites
from atlas.write.single_chunks import SingleChunkDraft
from atlas.write.staging import Staging

FILTERS = ("auto", "none", "byteshuffle", "bitshuffle", "decimal", "delta", "decimaldelta")


def chunks_of_all_kinds():
    """Array names with a chunk each: dtypes, fill values, cells that compress, that do not, and that are all equal."""
    rng = np.random.default_rng(4)
    found = {}

    def add(name, cells, dtype=None, fill=None):
        schema = make_schema(dtype or cells.dtype.name, ["x"], [len(cells)], fill_value=fill)
        found[f"{name} {len(found)}"] = PendingChunk(schema, len(found) % 3, cells)

    for dtype in ("int8", "uint16", "int32", "uint64", "float16", "float32", "float64"):
        for count in (1, 2, 20, 60):
            add("noise", rng.integers(0, 100, count).astype(dtype))
            add("ramp", np.arange(count).astype(dtype), fill=0)
            add("equal", np.full(count, 7, dtype))
    add("nan", np.array([np.nan, 1, np.inf, -0.0]), fill=np.nan)
    add("all nan", np.full(9, np.nan))
    add("bool", np.array([True, False, True]).view("u1"), "bool")
    add("times", np.array([5, np.iinfo("i8").min, -3]), "timestamp_nanoseconds")
    return found


def written(draft):
    storage = MemoryStorage()
    draft.write(storage, "s")
    assert len(storage.read("s")) == draft.size
    return storage.read("s")


def alone(name, codec, forced, dataset, pending):
    staging = Staging(name, codec, forced, TemporaryFile)
    staging.put(dataset, 0, pending)
    return staging.draft(None)


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("forced", FILTERS)
def test_they_are_what_each_name_has_alone(codec, forced):
    writes = PendingWrites(MemoryStorage(), DEFAULT, StoreConfig(codec, forced, CHECKPOINT_NAMES["atlas.json"]))
    chunks = chunks_of_all_kinds()
    for dataset, (name, pending) in enumerate(chunks.items()):
        writes.put(name, dataset, 0, pending)
    drafts = dict(writes.drafts(lambda _: None))
    assert all(type(draft) is SingleChunkDraft for draft in drafts.values())
    assert list(drafts) == list(chunks)
    for dataset, (name, pending) in enumerate(chunks.items()):
        expected = alone(name, codec, forced, dataset, pending)
        assert written(drafts[name]) == written(expected), name
        assert (drafts[name].footer, drafts[name].shares) == (expected.footer, False)
        assert len(drafts[name].digests) == 0


def test_only_small_numbers_that_wait_alone_are_taken():
    schema = make_schema("uint8", ["x"], [LEAST_TRIED], [LEAST_TRIED - 1])
    small = PendingChunk(schema, 0, np.arange(LEAST_TRIED - 1).astype("u1"))
    writes = PendingWrites(MemoryStorage(), DEFAULT, StoreConfig("zstd", "auto", CHECKPOINT_NAMES["atlas.json"]))
    writes.put("small", 3, 0, small)
    writes.put("large", 3, 0, small._replace(cells=np.arange(LEAST_TRIED).astype("u1")))
    writes.put("two chunks", 3, 0, small)
    writes.put("two chunks", 3, 1, small._replace(cells=small.cells[:1]))
    writes.put("two datasets", 3, 0, small._replace(cells=small.cells[:1]))
    writes.put("two datasets", 4, 0, small._replace(cells=small.cells[:1]))
    writes.put("coordinate", 3, 0, small._replace(coordinate=True))
    writes.put("encoded", 3, 0, small)
    writes.by_array["encoded"].encode()
    text = make_schema("string", ["x"], [1])
    writes.put("text", 3, 0, PendingChunk(text, 0, np.array(["a"], object)))
    assert [name for name, staging in writes.by_array.items() if staging.find_single()] == ["small"]
    assert writes.by_array["small"].find_single() == ((3, 0), small)
    assert {name for name, _ in writes.drafts(lambda _: None)} == set(writes.by_array)
    writes.by_array["small"].drop(3)
    assert "small" not in dict(writes.drafts(lambda _: None))


def test_many_names_are_flushed_and_read_back_also_after_a_flush_that_failed(tmp_path, monkeypatch):
    store = Atlas.create(tmp_path / "store")
    dataset = store.create_dataset("d")
    names = [f"a{at}" for at in range(200)]
    for at, name in enumerate(names):
        dataset.define_array(name, "float32" if at % 2 else "int16", ["x"], [5])
        cells = np.full(5, 3) if at % 5 == 0 else np.arange(5) + at
        dataset.write_array(name, [0], cells.astype("f4" if at % 2 else "i2"))
    with monkeypatch.context() as patches:
        patches.setattr("atlas.storage.durable.os.fsync", _fail)
        with pytest.raises(StorageError):
            store.flush()
    assert not list(tmp_path.rglob("*.seg"))
    assert dataset.read_array("a7").tolist() == [7, 8, 9, 10, 11]
    store.flush()
    assert len(list(tmp_path.rglob("*.seg"))) == 200
    again = Atlas.open(tmp_path / "store").open_dataset("d")
    for at, name in enumerate(names):
        assert again.read_array(name).tolist() == ([3] * 5 if at % 5 == 0 else [at, at + 1, at + 2, at + 3, at + 4])
    assert Atlas.open(tmp_path / "store").verify().ok


def _fail(descriptor):
    raise OSError(5, "Input/output error")
