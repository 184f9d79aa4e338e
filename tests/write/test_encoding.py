from __future__ import annotations

import numpy as np
import pytest

from atlas.format.schema import make_schema
from atlas.format.segment import CONSTANT
from atlas.write.encoding import FILTERS, Compression, PendingChunk, encode_chunks


def encode(schema, *cells, codec="zstd", kind="auto"):
    chunks = [((at, 0), PendingChunk(schema, at, part)) for at, part in enumerate(cells)]
    return list(encode_chunks(chunks, Compression(codec, kind)))


def test_small_chunks_share_a_block_and_constants_take_none():
    schema = make_schema("int16", ["x"], [3], fill_value=7)
    (found,) = encode(
        schema, np.array([1, 2, 7], "i2"), np.full(3, 7, "i2"), np.full(3, -2, "i2"), np.array([7, 9, 7], "i2")
    )
    assert len(found.blocks) == 1
    assert found.rows.block.tolist() == [0, CONSTANT, CONSTANT, 0]
    assert found.rows.offset.tolist() == [0, 7, 0xFFFE, 6]
    assert found.rows.nulls.tolist() == [1, 3, 0, 2]
    assert found.rows.generation.tolist() == [0, 1, 2, 3]
    assert found.rows.minimum.view("i8").tolist() == [1, 2**63 - 1, -2, 9]
    assert found.rows.maximum.view("i8").tolist() == [2, -(2**63), -2, 9]


@pytest.mark.parametrize(
    ("dtype", "value", "bits"),
    [
        ("float32", -0.0, 0x80000000),
        ("float64", np.nan, 0x7FF8000000000000),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("int8", -1, 0xFF),
        ("timestamp_nanoseconds", -(2**63), 2**63),
        ("timedelta64[s]", -1, 2**64 - 1),
        ("float16", -0.0, 0x8000),
        ("bool", True, 1),
    ],
)
def test_a_constant_keeps_its_bits(dtype, value, bits):
    schema = make_schema(dtype, ["x"], [4])
    (found,) = encode(schema, np.full(4, value, schema.datatype.cell))
    assert (found.rows.block.tolist(), found.rows.offset.tolist(), len(found.blocks)) == ([CONSTANT], [bits], 0)


def test_zeros_of_both_signs_are_no_constant():
    (found,) = encode(make_schema("float32", ["x"], [2]), np.array([0.0, -0.0], "f4"))
    assert found.rows.block.tolist() == [0]


def test_chunks_of_different_dtype_or_fill_are_encoded_apart_with_their_own_statistics():
    schemas = [make_schema("int16", ["x"], [2], fill_value=fill) for fill in (None, 1)] + [
        make_schema("int32", ["x"], [2])
    ]
    chunks = [
        ((at, 0), PendingChunk(schema, 0, np.array([1, 2], schema.datatype.cell))) for at, schema in enumerate(schemas)
    ]
    found = list(encode_chunks(chunks, Compression("none", "auto")))
    assert [part.rows.nulls.tolist() for part in found] == [[0], [1], [0]]
    assert [part.rows.dataset.tolist() for part in found] == [[0], [1], [2]]
    assert [part.blocks.raw.tolist() for part in found] == [[4], [4], [8]]


@pytest.mark.parametrize("kind", ["none", "byteshuffle", "bitshuffle", "delta"])
def test_a_forced_filter_is_used_where_a_block_shrinks(kind):
    schema = make_schema("int32", ["x"], [2000])
    (found,) = encode(schema, np.arange(2000, dtype="i4"), kind=kind)
    assert found.blocks.filter.tolist() == [FILTERS[kind]]
    assert found.blocks.codec.tolist() == [1]
    noise = np.random.default_rng(1).integers(-(2**31), 2**31, 2000).astype("i4")
    (found,) = encode(schema, noise, kind=kind)
    assert (found.blocks.codec.tolist(), found.blocks.filter.tolist()) == ([0], [0])


def test_without_a_codec_nothing_is_filtered():
    (found,) = encode(make_schema("int32", ["x"], [2000]), np.arange(2000, dtype="i4"), codec="none", kind="auto")
    assert (found.blocks.codec.tolist(), found.blocks.filter.tolist(), found.blocks.stored.tolist()) == (
        [0],
        [0],
        [8000],
    )


def test_large_chunks_have_blocks_of_their_own():
    schema = make_schema("float64", ["x"], [70_000])
    small = make_schema("float64", ["x"], [10])
    chunks = [
        ((0, 0), PendingChunk(small, 0, np.arange(10.0))),
        ((1, 0), PendingChunk(schema, 0, np.arange(70_000.0))),
        ((2, 0), PendingChunk(small, 0, np.arange(10.0) + 1)),
    ]
    found = list(encode_chunks(chunks, Compression("zstd", "none")))
    assert [part.blocks.raw.tolist() for part in found] == [[160], [*[65_536] * 8, 35_712]]
    assert [part.rows.dataset.tolist() for part in found] == [[0, 2], [1]]


def test_text_that_is_all_fill_takes_no_bytes():
    schema = make_schema("string", ["x"], [2], fill_value="é")
    cells = [np.array(part, object) for part in (["é", "é"], ["a", "é"], ["b", "c"], ["", ""])]
    (found,) = encode(schema, *cells)
    assert found.rows.block.tolist() == [CONSTANT, 0, 0, 0]
    assert found.rows.offset.tolist() == [0, 0, 11, 21]
    assert found.rows.nulls.tolist() == [2, 1, 0, 0]
    assert found.rows.minimum.tolist() == [2**64 - 1, 0, 1, 3]
    assert found.rows.maximum.tolist() == [2**64 - 1, 0, 2, 3]
    assert found.texts == [b"a", b"b", b"c", b""]
    bare = make_schema("string", ["x"], [2])
    (found,) = encode(bare, np.array(["", ""], object))
    assert (found.rows.block.tolist(), found.rows.nulls.tolist(), found.rows.minimum.tolist()) == ([CONSTANT], [0], [0])


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_number_of_threads_changes_nothing(threads, monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", threads)
    schema = make_schema("int32", ["x"], [5000])
    parts = [np.arange(5000, dtype="i4") + at for at in range(100)]
    (found,) = encode(schema, *parts)
    assert found.blocks.offset.tolist() == (np.cumsum(found.blocks.stored) - found.blocks.stored).tolist()
    assert int(found.blocks.raw.sum()) == 100 * 20_000
    assert len(found.stored) == int(found.blocks.stored.sum())
    assert found.blocks.checksum.tolist() == encode_once(parts)


def encode_once(parts, _known=[]):  # noqa: B006 - kept between the cases on purpose
    if not _known:
        (found,) = encode(make_schema("int32", ["x"], [5000]), *parts)
        _known.extend(found.blocks.checksum.tolist())
    return _known


@pytest.mark.parametrize("few", [1, 20])
def test_a_few_cells_do_not_decide_on_the_filter_of_many(few):
    many = (np.random.default_rng(3).normal(0, 0.2, 40_000).cumsum() + 15).round(2).astype(np.float32)
    schema = make_schema("float32", ["x"], [3])
    alone = encode(schema, many)
    small, large = encode(schema, np.arange(few, dtype=np.float32) / 7, many)
    assert small.blocks.filter.tolist() == [0] * (few > 1)
    assert large.blocks.filter.tolist() == alone[0].blocks.filter.tolist() == [FILTERS["decimaldelta"]] * 3
    assert large.stored.size == alone[0].stored.size
