"""Stores of every format version must open for good, and read alike by the library and by a second reader.

`python -m tests.test_golden NAME...` writes golden stores of the present version, on purpose: those named, a new one
among them, or `all`. It never writes those of an earlier version.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas, verify
from atlas.format.block_types import FILTERS
from atlas.format.documents import Encoding
from atlas.format.segment import FORMAT_VERSION
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from tests.golden.fleet import Fleet
from tests.golden.stores import GOLDEN, words
from tests.independent_reader import CELLS
from tests.reliability.hostile.segments import Segment

FOLDERS = Path(__file__).parent / "golden"
FOLDER = FOLDERS / f"v{FORMAT_VERSION}"
"""Those of the present version."""
STORES = sorted(str(path.relative_to(FOLDERS)) for path in FOLDERS.glob("v*/*"))
MOST_BYTES = 500_000


def build(golden, source):
    page_rows = golden.page_rows or limits.DEFAULT.page_rows
    with mock.patch.object(limits, "DEFAULT", Limits(page_rows=page_rows)):
        fleet = Fleet(Atlas.create(source, **golden.options))
        golden.build(fleet)
    return fleet


def expected(golden):
    fleet = Fleet()
    golden.build(fleet)
    return fleet


@pytest.mark.parametrize("path", STORES)
def test_the_library_reads_a_golden_store(path):
    expected(GOLDEN[Path(path).name]).check_store(Atlas.open(FOLDERS / path))


@pytest.mark.parametrize("path", STORES)
def test_a_golden_store_has_no_damage(path):
    assert verify(FOLDERS / path).damage == ()


@pytest.mark.parametrize("path", STORES)
def test_the_independent_reader_reads_a_golden_store(path):
    expected(GOLDEN[Path(path).name]).check_reader(FOLDERS / path)


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_written_today_reads_alike(name):
    storage = MemoryStorage()
    fleet = build(GOLDEN[name], storage)
    fleet.check_store(fleet.store)
    fleet.check_store(Atlas.open(storage))
    fleet.check_reader(storage.read)


@pytest.mark.parametrize("name", ["decimals", "history", "later-dtypes", "pages-json", "shapes", "shared", "versions"])
def test_a_golden_store_can_be_compacted_and_reads_alike(name, tmp_path):
    shutil.copytree(FOLDER / name, tmp_path / "store")
    Atlas.open(tmp_path / "store").compact(keep_versions=1, keep_days=0)
    expected(GOLDEN[name]).check_store(Atlas.open(tmp_path / "store"))
    expected(GOLDEN[name]).check_reader(tmp_path / "store")


def test_the_golden_stores_are_small_and_none_is_forgotten():
    missing = sorted(name for name in GOLDEN if not (FOLDER / name).is_dir())
    assert not missing, f"write them: python -m tests.test_golden {' '.join(missing)}"
    assert {Path(path).name for path in STORES} <= set(GOLDEN)
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < MOST_BYTES


def test_the_golden_stores_hold_what_they_are_for():
    def files(name):
        return {str(file.relative_to(FOLDER / name)) for file in (FOLDER / name).rglob("*") if file.is_file()}

    for form in ("json", "msgpack"):
        for packed, ending in (("none", ""), ("zstd", ".zst"), ("lz4", ".lz4")):
            assert f"atlas.{form}{ending}" in files(f"meta-{form}-{packed}")
    assert any(key.startswith("pages/") and key.endswith(".json.zst") for key in files("pages-json"))
    assert any(key.startswith("pages/") and key.endswith(".msgpack.lz4") for key in files("pages-msgpack-lz4"))
    assert any("%F0%9F%8C%8A" in key for key in files("names"))
    assert any(key.startswith("bases/") for key in files("versions"))
    columns = b"".join((FOLDER / "shared" / key).read_bytes() for key in files("shared") if key.endswith(".seg"))
    assert columns.count(b"digests") > 4
    heads = {}
    for key in files("decimals"):
        if key.endswith(".seg"):
            segment = Segment.parse((FOLDER / "decimals" / key).read_bytes())
            assert segment.columns["block_raw"][0] // segment.columns["block_itemsize"][0] > 4 * 256
            heads.setdefault(int(segment.columns["block_filter"][0]), []).append(list(segment.body[16:22]))
    most = {filter_: np.max(found, axis=0).tolist() for filter_, found in sorted(heads.items())}
    # Of each filter: planes of integers, the exponent, planes of corrections, masks and starts, and exceptions.
    assert most == {3: [2, 1, 0, 1, 0, 40], 4: [7, 0, 0, 1, 7, 18], 5: [1, 2, 1, 2, 2, 40]}
    (page,) = [key for key in files("later-dtypes") if key.startswith("pages/")]
    encoding = Encoding("json", ".zst")
    assert encoding.decode((FOLDER / "later-dtypes" / page).read_bytes())["features"] == [
        "dtype:bool",
        "dtype:timedelta64[s]",
    ]


def test_segments_that_are_named_with_a_shift_belong_to_later_ids():
    """What a writer that lost a race would write: the segments as they were, the datasets under other ids."""
    storage = MemoryStorage()
    fleet = Fleet(Atlas.create(storage))
    for name in ("first", "second"):
        fleet.create(name)
        fleet.define(name, "t", "int16", [5], [2])
        fleet.write(name, "t", [0], np.arange(5, dtype="i2") * len(name))
        fleet.define(name, "s", "string", [5], [2])
        fleet.write(name, "s", [0], words(5))
    fleet.flush()
    encoding = Encoding("json", "")
    (commit,) = storage.list("commits")
    document = encoding.decode(storage.read(commit))
    document["rows"]["ids"], document["next_id"] = [0, 5], 6
    for segment in document["segments"]:
        segment["shift"] = [1, 4]
    storage.replace(commit, encoding.encode(document))
    fleet.check_store(Atlas.open(storage))
    fleet.check_reader(storage.read)
    Atlas.open(storage).compact(keep_versions=1, keep_days=0)
    fleet.check_store(Atlas.open(storage))
    fleet.check_reader(storage.read)


# Random stores

DTYPES = [*CELLS, "string"]


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 6), max_size=3))
    chunks = [draw(st.integers(1, 7)) for _ in shape]
    fill = draw(st.sampled_from([None, 0, 1])) if dtype != "string" else draw(st.sampled_from([None, "", "a"]))
    if fill is not None and dtype.startswith(("float", "bool")):
        fill = bool(fill) if dtype == "bool" else float(fill)
    return dtype, shape, chunks, fill


@st.composite
def boxes(draw, model):
    start = [draw(st.integers(0, n)) for n in model.shape]
    shape = [draw(st.integers(0, n - s)) for n, s in zip(model.shape, start, strict=True)]
    size = int(np.prod(shape))
    if model.dtype == "string":
        flat = words(size) if draw(st.booleans()) else np.full(size, "a", object)
    else:
        cells = draw(st.lists(st.sampled_from([0, 1, 2, 100, 3]), min_size=1, max_size=5))
        flat = np.resize(np.array(cells), size).astype(CELLS[model.dtype])
    return start, flat.reshape(shape)


@given(st.data())
def test_random_stores_read_alike(data):
    options = {
        "codec": data.draw(st.sampled_from(["zstd", "lz4", "none"])),
        "filter": data.draw(st.sampled_from(["auto", *FILTERS])),
        "meta_format": data.draw(st.sampled_from(["json", "msgpack"])),
        "meta_compression": data.draw(st.sampled_from(["none", "zstd", "lz4"])),
    }
    storage = MemoryStorage()
    with mock.patch.object(limits, "DEFAULT", Limits(page_rows=2)):
        fleet = Fleet(Atlas.create(storage, **options))
        for _ in range(data.draw(st.integers(1, 3))):
            change(fleet, data)
            fleet.flush()
            fleet.check_reader(storage.read)
    fleet.check_store(fleet.store)
    fleet.check_store(Atlas.open(storage))


def change(fleet, data):
    for _ in range(data.draw(st.integers(1, 4))):
        names = list(fleet.datasets)
        action = data.draw(
            st.sampled_from(["create", "create", "define", "define", "write", "delete", "forget", "attribute"])
        )
        if action == "create" or not names:
            fresh = next(name for at in range(100) if (name := f"d{at}") not in fleet.datasets)
            fleet.create(fresh)
            continue
        name = data.draw(st.sampled_from(names))
        model = fleet.datasets[name]
        if action == "delete":
            fleet.delete(name)
        elif action == "attribute":
            fleet.attribute(
                name,
                data.draw(st.sampled_from("ab")),
                data.draw(st.one_of(st.booleans(), st.integers(0, 2), st.floats(), st.text())),
            )
        elif action == "define" and len(model.arrays) < 2:
            array = next(array for array in "xy" if array not in model.arrays)
            dtype, shape, chunks, fill = data.draw(arrays())
            fleet.define(name, array, dtype, shape, chunks, fill)
            fleet.write(name, array, *data.draw(boxes(model.arrays[array])))
        elif model.arrays:
            array = data.draw(st.sampled_from(list(model.arrays)))
            if action == "forget":
                fleet.delete_array(name, array)
            else:
                fleet.write(name, array, *data.draw(boxes(model.arrays[array])))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(f"python -m tests.test_golden NAME...: 'all', or of {', '.join(GOLDEN)}")
    for chosen in GOLDEN if sys.argv[1:] == ["all"] else sys.argv[1:]:
        shutil.rmtree(FOLDER / chosen, ignore_errors=True)
        build(GOLDEN[chosen], FOLDER / chosen)
        print("wrote", FOLDER / chosen)
