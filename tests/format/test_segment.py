from __future__ import annotations

import struct

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import CorruptStoreError, UnsupportedFormatError
from atlas.format.digests import DIGEST
from atlas.format.index_columns import encode_columns
from atlas.format.segment import (
    CONSTANT,
    FOOTER_SIZE,
    HEADER,
    SHARED,
    BlockRows,
    ChunkRows,
    Footer,
    check_footer,
    decode_footer,
    decode_index,
    encode_tail,
)
from atlas.format.strings import TextTable

END = 1000
DIGESTS = np.frombuffer(bytes(range(32)), DIGEST)


def make_blocks(**columns):
    plain = {
        "offset": [16, 500],
        "stored": [484, 500],
        "raw": [600, 500],
        "codec": [1, 0],
        "filter": [2, 0],
        "itemsize": [4, 1],
        "checksum": [2**64 - 1, 0],
    }
    kinds = {"codec": "u1", "filter": "u1", "itemsize": "u1", "checksum": "<u8"}
    return BlockRows(
        **{name: np.array(columns.get(name, values), kinds.get(name, "<i8")) for name, values in plain.items()}
    )


def make_chunks(**columns):
    plain = {
        "dataset": [3, 3, 9],
        "generation": [0, 0, 4],
        "chunk": [0, 7, 1],
        "block": [0, CONSTANT, 1],
        "offset": [8, 2**64 - 1, 0],
        "nulls": [1, 0, 0],
        "nans": [0, 2, 0],
        "minimum": [0, 2**63, 1],
        "maximum": [5, 2**64 - 1, 1],
        "digest": [-1, -1, -1],
    }
    wide = {"offset", "minimum", "maximum"}
    return ChunkRows(
        **{
            name: np.array(columns.get(name, values), "<u8" if name in wide else "<i8")
            for name, values in plain.items()
        }
    )


def split(tail):
    return tail[:-FOOTER_SIZE], tail[-FOOTER_SIZE:]


def test_tables_come_back():
    blocks, chunks, texts = make_blocks(), make_chunks(), TextTable.of([b"a", b"", "é".encode()])
    tail, footer = encode_tail(blocks, chunks, END, texts=texts)
    index, last = split(tail)
    assert decode_footer(last, END + len(tail)) == footer
    assert (footer.index_offset, footer.index_length, footer.chunks, footer.blocks) == (END, len(index), 3, 2)
    *tables, found_texts, _ = decode_index(index, footer)
    for found, made in zip(tables, (blocks, chunks), strict=True):
        for name, values in made.columns().items():
            np.testing.assert_array_equal(getattr(found, name), values)
            assert getattr(found, name).dtype == values.dtype
    assert [found_texts[at] for at in range(len(found_texts))] == [b"a", b"", "é".encode()]


@given(st.integers(0, 40), st.integers(0, 2**32))
def test_any_tables_come_back(count, seed):
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 50, count)
    codec = rng.integers(0, 3, count, "u1")
    blocks = BlockRows(
        16 + np.cumsum(stored) - stored,
        stored,
        stored * np.array([1, 32_768, 255])[codec],
        codec,
        rng.integers(0, 3, count, "u1"),
        rng.integers(1, 9, count, "u1"),
        rng.integers(0, 2**64, count, "u8"),
    )
    keys = np.unique(rng.integers(0, 30, (2 * count, 2)), axis=0)
    n = len(keys)
    chunks = ChunkRows(
        keys[:, 0].copy(),
        rng.integers(0, 9, n),
        keys[:, 1].copy(),
        rng.integers(-1, max(count, 0), n) if count else np.full(n, -1),
        rng.integers(0, 2**62, n, "u8"),
        rng.integers(0, 9, n),
        rng.integers(0, 9, n),
        rng.integers(0, 2**64, n, "u8"),
        rng.integers(0, 2**64, n, "u8"),
        np.full(n, -1),
    )
    texts = [rng.bytes(int(length)) for length in rng.integers(0, 129, rng.integers(0, 2 * n + 1))]
    end = 16 + int(stored.sum())
    tail, _ = encode_tail(blocks, chunks, end, texts=TextTable.of(texts))
    *tables, found, _ = decode_index(split(tail)[0], decode_footer(split(tail)[1], end + len(tail)))
    assert [found[at] for at in range(len(found))] == texts
    for mine, theirs in zip(tables, (blocks, chunks), strict=True):
        for name, values in theirs.columns().items():
            np.testing.assert_array_equal(getattr(mine, name), values)


@pytest.mark.parametrize("texts", [[], [b"x", b""]])
def test_digests_come_back(texts):
    chunks = make_chunks(block=[0, CONSTANT, SHARED], digest=[1, -1, 0], offset=[8, 0, 0])
    tail, footer = encode_tail(make_blocks(), chunks, END, texts=TextTable.of(texts), digests=DIGESTS)
    found = decode_index(split(tail)[0], footer)
    assert found.digests.tobytes() == DIGESTS.tobytes()
    assert (found.chunks.digest.tolist(), found.chunks.block.tolist()) == ([1, -1, 0], [0, -1, -2])
    assert len(found.texts) == len(texts)


@pytest.mark.parametrize(
    ("digest", "digests"),
    [
        ([2, -1, 0], slice(2)),
        ([-2, -1, 0], slice(2)),
        ([0, -1, -1], slice(2)),
        ([0, -1, 0], slice(0)),
        ([0, -1, 0], slice(4)),
    ],
)
def test_digests_out_of_bounds(digest, digests):
    chunks = make_chunks(block=[0, CONSTANT, SHARED], digest=digest)
    tail, footer = encode_tail(make_blocks(), chunks, END, digests=np.tile(DIGESTS, 2)[digests])
    with pytest.raises(CorruptStoreError):
        decode_index(split(tail)[0], footer)


def test_a_digest_is_sixteen_bytes():
    chunks = make_chunks(digest=[0, -1, -1])
    columns = {f"block_{name}": values for name, values in make_blocks().columns().items()} | chunks.columns()
    index = encode_columns(columns | {"digests": np.zeros(17, np.uint8)})
    footer = Footer(END, len(index), xxhash.xxh3_64_intdigest(index), 3, 2)
    with pytest.raises(CorruptStoreError, match="17 bytes of digests"):
        decode_index(index, footer)


def test_an_index_grows_with_its_rows_so_that_a_reader_may_bound_them():
    n = 200_000
    zeros, bits = np.zeros(n, np.int64), np.zeros(n, np.uint64)
    chunks = ChunkRows(np.arange(n), zeros, zeros, zeros - 1, bits, zeros, zeros, bits, bits, zeros - 1)
    tail, footer = encode_tail(make_blocks().take(slice(0)), chunks, 16)
    assert footer.index_length >= n // 64
    found = decode_index(split(tail)[0], decode_footer(split(tail)[1], 16 + len(tail)))[1]
    np.testing.assert_array_equal(found.dataset, np.arange(n))


def test_the_header_says_the_version():
    assert HEADER.hex() == "41544c41535345470100000000000000"


def test_no_damaged_byte_of_a_footer_goes_unseen():
    tail, _ = encode_tail(make_blocks(), make_chunks(), END, texts=TextTable.of([b"ab", b"c"]))
    last = split(tail)[1]
    for at in range(FOOTER_SIZE):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(last)
            damaged[at] ^= flip
            with pytest.raises(CorruptStoreError):
                decode_footer(bytes(damaged), END + len(tail))
    for stop in range(FOOTER_SIZE):
        with pytest.raises(CorruptStoreError):
            decode_footer(last[:stop], END + len(tail))
    for size in (END + len(tail) - 1, END + len(tail) + 1, 0):
        with pytest.raises(CorruptStoreError):
            decode_footer(last, size)


def sign(head):
    return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + b"ATLASSEG"


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_another_version_is_refused(version):
    tail, _ = encode_tail(make_blocks(), make_chunks(), END, texts=TextTable.of([b"ab", b"c"]))
    head = bytearray(split(tail)[1][:48])
    head[40:44] = struct.pack("<I", version)
    with pytest.raises(UnsupportedFormatError, match=f"version {version}"):
        decode_footer(sign(bytes(head)), END + len(tail))


@pytest.mark.parametrize(
    "footer",
    [
        Footer(15, 100, 0, 1, 1),
        Footer(16, 100, 0, 1, 1),
        Footer(2**63, 2**63, 0, 1, 1),
        Footer(END, 100, 0, 6401, 1),
        Footer(END, 100, 0, 1, 6401),
        Footer(END, 100, 0, 2**63, 1),
    ],
)
def test_footers_that_do_not_fit_their_file(footer):
    with pytest.raises(CorruptStoreError):
        check_footer(footer, END + 100 + FOOTER_SIZE)


def test_no_damaged_byte_of_an_index_goes_unseen():
    tail, footer = encode_tail(make_blocks(), make_chunks(), END, texts=TextTable.of([b"ab", b"c"]))
    index = split(tail)[0]
    for at in range(0, len(index), 3):
        damaged = bytearray(index)
        damaged[at] ^= 0x10
        with pytest.raises(CorruptStoreError, match="checksum of its index"):
            decode_index(bytes(damaged), footer)
    for wrong in (index[:-1], index + b"\0", b""):
        with pytest.raises(CorruptStoreError):
            decode_index(wrong, footer)


def test_no_index_with_a_right_checksum_does_harm():
    tail, footer = encode_tail(make_blocks(), make_chunks(), END, texts=TextTable.of([b"ab", b"c"]))
    index = split(tail)[0]
    for at in range(len(index)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(index)
            damaged[at] ^= flip
            forged = Footer(END, len(index), xxhash.xxh3_64_intdigest(damaged), footer.chunks, footer.blocks)
            try:
                blocks, chunks, texts, _ = decode_index(bytes(damaged), forged)
            except CorruptStoreError:
                continue
            assert (blocks.offset >= 16).all()
            assert (blocks.offset + blocks.stored <= END).all()
            assert (chunks.block < len(blocks)).all()
            assert len(b"".join(texts[at] for at in range(len(texts)))) == len(texts.data)


@pytest.mark.parametrize(
    "columns",
    [
        {"offset": [15, 500]},
        {"offset": [16, 501]},
        {"offset": [2**63 - 1, 500]},
        {"offset": [-1, 500]},
        {"stored": [-1, 500]},
        {"stored": [985, 500]},
        {"stored": [2**63 - 1, 500]},
        {"raw": [-1, 500]},
        {"raw": [600, 499]},
        {"raw": [600, 501]},
        {"raw": [485 * 32_768, 500]},
        {"raw": [485 * 255, 500], "codec": [2, 0]},
        {"raw": [485 * 255, 500], "codec": [2, 0], "filter": [2, 0]},
        {"raw": [485 * 32_768, 500], "codec": [2, 0], "filter": [4, 0]},
        {"raw": [485 * 32_768, 500], "codec": [1, 0], "filter": [3, 0]},
        {"raw": [2**63 - 1, 500]},
        {"codec": [3, 0]},
        {"filter": [0, 6]},
        {"itemsize": [0, 1]},
    ],
)
def test_blocks_out_of_bounds(columns):
    tail, footer = encode_tail(make_blocks(**columns), make_chunks(), END)
    with pytest.raises(CorruptStoreError):
        decode_index(split(tail)[0], footer)


@pytest.mark.parametrize("kind", [3, 4, 5])
@pytest.mark.parametrize("codec", [1, 2])
def test_integers_that_are_all_equal_take_few_bytes_with_any_codec(kind, codec):
    columns = {"raw": [484 * 32_768, 500], "codec": [codec, 0], "filter": [kind, 0]}
    tail, footer = encode_tail(make_blocks(**columns), make_chunks(), END)
    assert decode_index(split(tail)[0], footer)[0].raw.tolist() == columns["raw"]


@pytest.mark.parametrize(
    "columns",
    [
        {"dataset": [-3, 3, 9]},
        {"dataset": [3, 3, 2]},
        {"chunk": [7, 0, 1]},
        {"chunk": [7, 7, 1]},
        {"chunk": [-1, 7, 1]},
        {"generation": [-1, 0, 0]},
        {"nulls": [-1, 0, 0]},
        {"nans": [0, -1, 0]},
        {"block": [-2, 0, 0]},
        {"block": [2, 0, 0]},
        {"offset": [2**63, 0, 0]},
        {"offset": [2**62 + 1, 0, 0]},
    ],
)
def test_chunks_out_of_bounds_or_order(columns):
    tail, footer = encode_tail(make_blocks(), make_chunks(**columns), END)
    with pytest.raises(CorruptStoreError):
        decode_index(split(tail)[0], footer)


@pytest.mark.parametrize(
    ("ends", "data"),
    [
        ([1, 0], b"a"),
        ([-1, 1], b"a"),
        ([1, 3], b"ab"),
        ([1], b"ab"),
        ([0] * 7, b""),
        ([129], b"x" * 129),
        ([2**63 - 1], b"a"),
    ],
)
def test_texts_out_of_bounds(ends, data):
    texts = TextTable(np.array(ends, np.int64), np.frombuffer(data, np.uint8))
    tail, footer = encode_tail(make_blocks(), make_chunks(), END, texts=texts)
    with pytest.raises(CorruptStoreError, match="texts"):
        decode_index(split(tail)[0], footer)


def test_rows_are_taken_and_joined():
    rows = make_chunks()
    both = ChunkRows.joined([rows.take(np.array([0])), rows.take(rows.dataset == 9)])
    assert (len(rows), len(both), both.dataset.tolist()) == (3, 2, [3, 9])
