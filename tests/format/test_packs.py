from __future__ import annotations

import pytest

from atlas.errors import CorruptStoreError
from atlas.format.config import StoreConfig
from atlas.format.documents import Encoding
from atlas.format.packs import Pack, pack_from_json, pack_key, pack_to_json, run_of


def config(form="json", suffix="", size=4):
    return StoreConfig("zstd", "auto", Encoding(form, suffix), size)


@pytest.mark.parametrize(("version", "first", "last"), [(1, 1, 4), (4, 1, 4), (5, 5, 8), (8, 5, 8), (1001, 1001, 1004)])
def test_the_number_of_a_commit_names_its_pack(version, first, last):
    assert list(run_of(config(), version)) == [*range(first, last + 1)]
    assert pack_key(config(), version) == f"packs/{last:020d}.json.zst"
    assert pack_key(config("msgpack", ".lz4"), version) == f"packs/{last:020d}.msgpack.lz4"


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("first", [5, 8])
def test_a_pack_comes_back(form, first):
    pack = Pack(4, first, tuple(f'{{"é": {version}}}'.encode() for version in range(first, 9)))
    encoding = Encoding(form, ".zst")
    document = encoding.decode(encoding.encode(pack_to_json(pack, "a store", config(form))))
    assert document["store"] == "a store"
    assert pack_from_json(document, 8) == pack
    assert pack.versions == range(first, 9)


@pytest.mark.parametrize(
    "change",
    [
        {"atlas": "page"},
        {"first": 4},
        {"first": 6},
        {"first": -1},
        {"first": "5"},
        {"pack": 3},
        {"pack": 5},
        {"pack": 0},
        {"commits": []},
        {"commits": ["a", "b", "c"]},
        {"commits": ["a", "b", "c", 4]},
        {"commits": "abcd"},
    ],
)
def test_a_pack_that_says_something_else_is_refused(change):
    document = pack_to_json(Pack(4, 5, (b"a", b"b", b"c", b"d")), "a store", config())
    assert pack_from_json(document, 8).first == 5
    with pytest.raises(CorruptStoreError):
        pack_from_json(document | change, 8)
