"""Blocks of the filters of integers as nobody writes them: read as the second reader does, or refused by both."""

import struct
from dataclasses import dataclass, field
from functools import cache

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import BlockError, decode_block, decode_blocks, encode_blocks
from atlas.kernels.compiler import JIT
from tests import reference
from tests.independent_reader import FormatError, decode_integers
from tests.reference import of

KINDS = [(3, 4), (3, 8), (4, 1), (4, 2), (4, 4), (4, 8), (5, 4), (5, 8)]
"""Each filter with the item sizes that it has."""
ITEMS = 600
GUARD = 64


@dataclass
class Block:
    """A block of random planes whose head says anything, and what it says of the planes is so."""

    kind: int
    size: int
    items: int = ITEMS
    head: dict[str, int] = field(default_factory=dict)
    positions: list[int] | None = None
    codec: int = 1
    seed: int = 0

    def stored(self) -> bytes:
        head = {
            "width": min(2, self.size),
            "exponent": 0 if self.kind == 4 else 2,
            "corrections": int(self.kind != 4),
            "masks": 2,
            "starts": 0 if self.kind == 3 else 2,
            "exceptions": self.items // 16 if self.positions is None else len(self.positions),
            "base": -300,
            "start_base": 2**40,
        } | self.head
        *counts, exceptions, base, start_base = head.values()
        width, _, corrections, masks, starts = counts
        rng = np.random.default_rng(self.seed)
        lengths = (
            [self.items] * (width + corrections) + [-(-self.items // 8)] * masks + [-(-self.items // 256)] * starts
        )
        # Few masked items, and small bytes where packing them is to save some.
        planes = [rng.integers(0, 256 if j % 2 else 3, length, np.uint8).tobytes() for j, length in enumerate(lengths)]
        streams = [min(plane, self.pack(plane), key=len) for plane in planes]
        positions = self.positions
        if positions is None:
            positions = sorted(rng.choice(max(self.items, exceptions), exceptions, replace=False).tolist())
        tail = (
            rng.bytes(masks * self.size)
            + struct.pack(f"<{exceptions}I", *positions)
            + rng.bytes(exceptions * self.size)
        )
        lead = bytes(counts) + exceptions.to_bytes(3, "little") + struct.pack("<qq", base, start_base)
        return lead + struct.pack(f"<{len(streams)}I", *map(len, streams)) + b"".join(streams) + tail

    def pack(self, plane: bytes) -> bytes:
        if self.codec == 1:
            return zstandard.ZstdCompressor(level=1).compress(plane)
        return lz4.block.compress(plane, store_size=False)

    def in_table(self) -> tuple[np.ndarray, np.ndarray]:
        """The block after some other bytes, and its table."""
        return stored_as(self.stored(), self.items * self.size, self.codec, self.kind, self.size)

    def expected(self) -> bytes:
        return decode_integers(self.stored(), self.codec, self.items * self.size, self.kind, self.size)


def stored_as(stored, raw, codec, kind, size):
    source = np.frombuffer(b"\xa5" * 5 + stored, np.uint8)
    return source, reference.table_of([(5, len(stored), raw, codec, kind, size, reference.checksum(stored))])


def decode(source, table):
    """What the block decodes to, or the reason for which it is refused; nothing is written beside it."""
    raw = int(of(table).raw[0])
    if not 0 <= raw < 1 << 20:
        with pytest.raises(BlockError) as single:
            decode_block(source, table, 0)
        return single.value.reason
    guard = np.full(raw + 2 * GUARD, 200, np.uint8)
    try:
        decode_blocks(source, table, guard[GUARD : GUARD + raw], np.zeros(1, np.int64))
        found = guard[GUARD : GUARD + raw].tobytes()
    except BlockError as fault:
        found = fault.reason
    assert (guard[:GUARD] == 200).all()
    assert (guard[GUARD + raw :] == 200).all()
    return found


def gather(source, table, items, first, stop, size):
    """The items `first` to `stop` of a chunk that is the block."""
    geometry, _ = reference.geometry([items], [items], [first], [stop - first])
    out = np.full((1, stop - first), 77, f"u{size}")
    reference.gather_all(source, table, np.array([[0], [0], [0], [items], [0], [0]]), geometry, out)
    return out.tobytes()


@st.composite
def blocks(draw):
    kind, size = draw(st.sampled_from(KINDS))
    items = draw(st.sampled_from([1, 7, 8, 15, 16, 255, 256, 257, 520, 1031]))
    head = {
        "width": draw(st.integers(0, size)),
        "exponent": 0 if kind == 4 else draw(st.integers(0, 22)),
        "corrections": 0 if kind == 4 else draw(st.integers(0, 1)),
        "masks": draw(st.integers(0, 4)),
        "starts": 0 if kind == 3 else draw(st.integers(0, 8)),
        "exceptions": draw(st.integers(0, items // 16)),
        "base": draw(st.sampled_from([0, -1, 1000, -(2**63), 2**63 - 1]) | st.integers(-(2**63), 2**63 - 1)),
        "start_base": draw(st.sampled_from([0, -1, 10**18, -(2**63), 2**63 - 1])),
    }
    return Block(kind, size, items, head, codec=draw(st.sampled_from([1, 2])), seed=draw(st.integers(0, 2**16)))


@given(blocks(), st.data())
def test_whatever_a_head_may_say_is_read_as_the_second_reader_does(block, data):
    source, table = block.in_table()
    expected = block.expected()
    assert decode(source, table) == expected
    first = data.draw(st.integers(0, block.items - 1))
    stop = data.draw(st.integers(first + 1, block.items))
    part = expected[first * block.size : stop * block.size]
    assert gather(source, table, block.items, first, stop, block.size) == part


TOO_MUCH = [
    *((kind, size, {"width": width}) for kind, size in KINDS for width in (size + 1, 255)),
    *((kind, size, {"masks": masks}) for kind, size in KINDS for masks in (5, 255)),
    *((kind, size, {"starts": 9}) for kind, size in KINDS if kind != 3),
    *((3, size, {"starts": 1}) for size in (4, 8)),
    *((kind, size, {"exponent": e}) for kind, size in KINDS if kind != 4 for e in (23, 255)),
    *((4, size, {"exponent": 1}) for size in (1, 2, 4, 8)),
    *((kind, size, {"corrections": 2}) for kind, size in KINDS if kind != 4),
    *((4, size, {"corrections": 1}) for size in (1, 2, 4, 8)),
    *((kind, size, {"exceptions": n}) for kind, size in KINDS for n in (ITEMS // 16 + 1, ITEMS, 2**16)),
]


@pytest.mark.parametrize(("kind", "size", "head"), TOO_MUCH)
def test_no_field_of_a_head_is_above_what_it_may_be(kind, size, head):
    block = Block(kind, size, head=head)
    assert decode(*block.in_table()) == "length"
    with pytest.raises(FormatError):
        block.expected()


@pytest.mark.parametrize(("kind", "size"), KINDS)
@pytest.mark.parametrize("at", [0, 2, 3, 4, 5, 6, 7])
def test_a_head_that_says_something_else_than_what_follows(kind, size, at):
    sound = bytearray(Block(kind, size).stored())
    for byte in {*range(12), 255} - {sound[at]}:
        forged = bytes([*sound[:at], byte, *sound[at + 1 :]])
        assert decode(*stored_as(forged, ITEMS * size, 1, kind, size)) in ("length", "codec")
        with pytest.raises((FormatError, zstandard.ZstdError)):
            decode_integers(forged, 1, ITEMS * size, kind, size)


@pytest.mark.parametrize(("kind", "size"), KINDS)
@pytest.mark.parametrize(
    "positions", [[5, 5], [6, 5], [ITEMS], [0, ITEMS], [2**31], [2**32 - 1], [0, 1, 2**32 - 1, 3], [ITEMS - 1, 0]]
)
def test_positions_of_exceptions_ascend_within_the_block(kind, size, positions):
    block = Block(kind, size, positions=positions)
    assert decode(*block.in_table()) == "length"
    with pytest.raises(FormatError):
        block.expected()


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_lengths_of_planes_and_the_size_of_the_tail(kind, size, codec):
    block = Block(kind, size, codec=codec)
    sound = block.stored()
    planes = sum(sound[:5]) - sound[1]
    lengths = struct.unpack_from(f"<{planes}I", sound, 24)
    for plane, right in enumerate(lengths):
        for lie in {0, right - 1, right + 1, ITEMS, ITEMS + 1, 2**31 - 1, 2**32 - 1} - {right}:
            at = 24 + 4 * plane
            forged = sound[:at] + struct.pack("<I", lie) + sound[at + 4 :]
            assert decode(*stored_as(forged, ITEMS * size, codec, kind, size)) in ("length", "codec")
    for forged in (sound + b"\0", sound + bytes(size), sound[:-1], sound[: -4 - size], sound[:24] + sound[28:]):
        assert decode(*stored_as(forged, ITEMS * size, codec, kind, size)) in ("length", "codec")
    for end in range(0, len(sound), 1 if JIT else 97):
        assert decode(*stored_as(sound[:end], ITEMS * size, codec, kind, size)) in ("length", "codec")


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_the_table_says_something_else(kind, size):
    source, table = Block(kind, size).in_table()
    raw = ITEMS * size
    for lie in (0, 1, raw - size, raw + size, 24 * 32768, 2**31, 2**40, 2**63 - 1, -1, -size):
        assert decode(source, reference.change(table, 0, raw=lie)) in ("length", "codec")
    if size > 1:
        assert decode(source, reference.change(table, 0, raw=raw + 1)) == "length"
        assert decode(source, reference.change(table, 0, raw=raw - 1)) == "length"
    assert decode(source, reference.change(table, 0, codec=0)) == "codec"
    assert decode(source, reference.change(table, 0, filter=6)) == "codec"
    for lie in {0, 1, 2, 3, 5, 6, 7, 9, 16, 255} - {other for k, other in KINDS if k == kind}:
        assert decode(source, reference.change(table, 0, itemsize=lie)) == "codec"


@pytest.mark.parametrize(("kind", "size"), KINDS)
@pytest.mark.parametrize("codec", [1, 2])
def test_a_head_alone_is_no_more_than_it_may_become(kind, size, codec):
    head = {"width": 0, "corrections": 0, "masks": 0, "starts": 0, "exceptions": 0, "base": 3, "start_base": 4}
    most = 24 * 32768 // size
    block = Block(kind, size, most, head, codec=codec)
    assert len(block.stored()) == 24
    assert decode(*block.in_table()) == block.expected()
    assert decode(*Block(kind, size, most + 1, head, codec=codec).in_table()) == "length"


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_equal_integers_are_stored_as_a_head_alone(kind, size, codec):
    dtype = f"i{size}" if kind == 4 else f"f{size}"
    most = 24 * 32768 // size
    steps = np.arange(100) if kind >= 4 else np.full(100, 3)
    for cells in (steps.astype(dtype), *(np.zeros(items, dtype) for items in (most, most + 1) if JIT)):
        raw = cells.view(np.uint8)
        stored, table = encode_blocks(
            raw, np.array([0]), np.array([raw.size]), codec=codec, filter=kind, itemsize=size, level=1
        )
        fits = cells.size <= most
        assert of(table).filter[0] == (kind if fits else 1)
        assert stored.size == 24 or not fits
        assert decode_block(stored, table, 0).tobytes() == raw.tobytes()


@cache
def sample(kind, size, codec, fills):
    """A block of the library, of cells with all that a head can say; `fills` of them are the fill value."""
    rng = np.random.default_rng(3)
    odd = rng.permutation(ITEMS)
    if kind == 4:
        cells = (np.cumsum(np.repeat(rng.integers(-3, 4, ITEMS // 20), 20)) + 5000).astype(f"i{size}")
        fill = np.array(-99, cells.dtype)
    else:
        kind_of = np.dtype(f"f{size}").type
        cells = (np.cumsum(rng.integers(-300, 301, ITEMS)) + 5000).astype(kind_of) * kind_of(0.01)
        cells[odd[100:200]], cells[odd[200:210]] = np.nan, 1 / 3
        fill = kind_of(-9999.0)
    cells[odd[:fills]] = fill
    raw = cells.view(np.uint8)
    stored, table = encode_blocks(
        raw, np.array([0]), np.array([raw.size]), codec=codec, filter=kind, itemsize=size, level=1, fill=fill.tobytes()
    )
    assert of(table).filter[0] == kind
    assert decode_block(stored, table, 0).tobytes() == raw.tobytes()
    return stored, table


SAMPLES = [(kind, size, codec, fills) for kind, size in KINDS for codec in (1, 2) for fills in (20, 60)]


def test_samples_have_all_that_a_head_can_say():
    heads = {kind: [sample(*each)[0][:6].tolist() for each in SAMPLES if each[0] == kind] for kind in (3, 4, 5)}
    most = {kind: np.max(found, axis=0).tolist() for kind, found in heads.items()}
    assert [most[kind][2:5] for kind in (3, 4, 5)] == [[1, 2, 0], [0, 1, 2], [1, 2, 2]]
    assert all(most[kind][5] >= 10 for kind in most)


def seen(found):
    """A value as a reader has it, or a refusal."""
    return found if isinstance(found, bytes) else "refused"


@pytest.mark.parametrize("chosen", SAMPLES if JIT else SAMPLES[::5])
def test_flipped_bytes_under_a_right_checksum_are_read_by_both_readers_or_neither(chosen):
    stored, table = sample(*chosen)
    raw, codec, kind, size = (int(table[row, 0]) for row in (2, 3, 4, 5))
    for at in range(0, stored.size, 1 if JIT else 61):
        for flip in (0x5A, 1, 0x80, 0xFF):
            forged = stored.copy()
            forged[at] ^= flip
            found = decode(forged, reference.reseal(forged, table, 0))
            assert found in ("length", "codec") or len(found) == raw
            try:
                expected = decode_integers(forged.tobytes(), codec, raw, kind, size)
            except (FormatError, zstandard.ZstdError, lz4.block.LZ4BlockError):
                expected = "refused"
            assert seen(found) == expected


@given(st.data())
def test_any_changes_under_a_right_checksum_never_escape(data):
    stored, table = sample(*data.draw(st.sampled_from(SAMPLES)))
    raw, size = int(of(table).raw[0]), int(of(table).itemsize[0])
    forged = bytearray(stored.tobytes())
    planes = sum(forged[:5]) - forged[1]
    head, tail = 24 + 4 * planes, max(0, len(forged) - 400)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, head - 1) | st.integers(tail, len(forged) - 1) | st.integers(0, len(forged) - 1))
        forged[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(forged)))
        forged[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    source, table = stored_as(bytes(forged), raw, int(of(table).codec[0]), int(of(table).filter[0]), size)
    found = decode(source, table)
    assert found in ("length", "codec") or len(found) == raw
    first = data.draw(st.integers(0, ITEMS - 1))
    stop = data.draw(st.integers(first + 1, ITEMS))
    if isinstance(found, bytes):
        assert gather(source, table, ITEMS, first, stop, size) == found[first * size : stop * size]
    else:
        with pytest.raises(BlockError):
            gather(source, table, ITEMS, first, stop, size)
