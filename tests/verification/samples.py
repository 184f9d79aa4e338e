"""Stores to damage, and ways to damage them."""

from __future__ import annotations

import errno

import numpy as np
import orjson

from atlas import Atlas
from atlas.dataset import exact_attributes
from atlas.errors import StorageError
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from tests.api.samples import put

WORDS = np.array(["x", "é", "long " * 20, ""], object)


def build(storage, **options):
    """Three datasets that differ, written in two flushes; `b` lacks an array, both segments hold `t` of `a`."""
    rng = np.random.default_rng(7)
    with Atlas.create(storage, **options) as store:
        for name in "abc":
            view = store.create_dataset(name)
            view.set_attribute("station", f"of {name}")
            view.define_array("t", "float32", ["x"], [40], [15], fill_value=float("nan"))
            view.write_array("t", [0], rng.normal(size=40).astype("f4"))
            view.define_array("never", "int8", ["x"], [3])
            if name != "b":
                view.define_array("s", "string", ["x"], [4], fill_value="")
                view.write_array("s", [0], WORDS)
        view.define_array("flat", "int16", ["x", "y"], [4, 4], [2, 2], fill_value=-1)
        view.write_array("flat", [0, 0], np.array([[7] * 4] * 2 + [[-1] * 4] * 2, "i2"))
    with Atlas.open(storage) as store:
        store.open_dataset("a").write_array("t", [3], np.ones(9, "f4"))
        store.open_dataset("b").set_attribute("late", 1.5)
    return storage


def contents(store):
    """Everything that is read, by dataset and array; attributes under None."""
    found = {}
    for name in store.list_datasets():
        view = store.open_dataset(name)
        found[name, None] = exact_attributes(view), view.list_arrays()
        for array in view.list_arrays():
            found[name, array] = view.read_array(array).tolist(), view.array_stats(array), view.array_meta(array)
    return repr(found), found


def replaced(storage, key, data):
    """A copy of a store in memory with another file."""
    copy = MemoryStorage()
    for other in storage.list():
        copy.replace(other, storage.read(other))
    if data is None:
        copy.delete([key])
    else:
        copy.replace(key, data)
    return copy


def flipped(data, at, bit=2):
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def segments(storage):
    return [ref for refs in Atlas.open(storage)._session.catalog.segments.values() for ref in refs]


def rewrite(storage, key, change):
    """Change a JSON document and sign it anew."""
    document = orjson.loads(storage.read(key))
    del document["xxh3"]
    change(document)
    storage.replace(key, CHECKPOINT_NAMES["atlas.json"].encode(document))


def all_files(storage):
    return [(key, len(storage.read(key))) for key in storage.list()]


class FailingStorage(MemoryStorage):
    """A disk with a bad range in one file."""

    bad = ("", 0, 0)

    def _check(self, key, offset, length):
        name, begin, end = self.bad
        if key == name and offset < end and offset + length > begin:
            raise StorageError(errno.EIO, "Input/output error", key)

    def read(self, key):
        self._check(key, 0, 2**62)
        return super().read(key)

    def size(self, key):
        return len(super().read(key))

    def read_range(self, key, offset, length):
        self._check(key, offset, length)
        return super().read(key)[offset : offset + length]

    def read_into(self, key, offsets, lengths, out, targets):
        data = np.frombuffer(super().read(key), np.uint8)
        for offset, length, storage in zip(offsets.tolist(), lengths.tolist(), targets.tolist(), strict=True):
            self._check(key, offset, length)
            out[storage : storage + length] = data[offset : offset + length]


def failing(storage):
    copy = FailingStorage()
    for key in storage.list():
        copy.replace(key, storage.read(key))
    return copy


def paged(storage, monkeypatch):
    """A store whose datasets lie in two pages, some of which were changed or deleted later."""
    monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=4))
    with Atlas.create(storage) as store:
        for flush in range(2):
            for n in range(6):
                view = store.create_dataset(f"{'ab'[flush]}{n}")
                view.set_attribute("n", n)
                put(view, "t", np.arange(3.0) + n, "float64")
            store.flush()
        store.open_dataset("a1").set_attribute("n", 10)
        store.delete_dataset("a2")
        store.flush()
        assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
        store.open_dataset("a3").set_attribute("n", 30)
        store.delete_dataset("a4")
        store.create_dataset("c")
    return storage


def kept(storage, **options):
    """A store whose base is not its first version, with commits after the base and after the checkpoint."""
    build(storage, **options)
    with Atlas.open(storage) as store:
        for n in range(3):
            store.open_dataset("b").set_attribute("n", n)
            store.flush()
        store.compact(keep_versions=3, keep_days=0)
        for n in range(2):
            store.open_dataset("c").write_array("t", [n], np.full(3, n, "f4"))
            store.flush(message=f"number {n}")
        store.rollback(store.version - 1)
    return storage
