"""Encoding and decoding blocks, and what damaged ones do."""

import os
import threading

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import BlockError, choose_filter, decode_block, decode_blocks, encode_blocks
from atlas.kernels.compiler import JIT
from tests import reference
from tests.reference import of

RNG = np.random.default_rng(5)
SIZE = 20000 if JIT else 1200
VALUES = RNG.normal(size=SIZE // 4).astype(np.float32).round(1).view(np.uint8)
COMBINATIONS = [(c, f, s) for c in (0, 1, 2) for f in (0, 1, 2) for s in (1, 2, 3, 4, 8, 16)]


def cuts(*ends):
    edges = np.array([0, *ends], np.int64)
    return edges[:-1], np.diff(edges)


@pytest.mark.parametrize(("codec", "kind", "itemsize"), COMBINATIONS)
def test_encoded_blocks_decode(codec, kind, itemsize):
    start, length = cuts(0, 1, 2, 37, 500, SIZE - 3)
    stored, table = encode_blocks(VALUES, start, length, codec=codec, filter=kind, itemsize=itemsize, level=1)
    assert stored.size == of(table).stored.sum()
    assert (of(table).offset == np.cumsum(of(table).stored) - of(table).stored).all()
    assert (of(table).raw == length).all()
    assert (of(table).stored <= of(table).raw).all()
    for row in range(length.size):
        here = stored[of(table).offset[row] : of(table).offset[row] + of(table).stored[row]].tobytes()
        raw = VALUES[start[row] : start[row] + length[row]].tobytes()
        assert of(table).checksum[row] == reference.checksum(here)
        if of(table).codec[row] == 0:
            assert (of(table).filter[row], here) == (0, raw)
        else:
            assert of(table).filter[row] == kind
        assert decode_block(stored, table, row).tobytes() == raw
    out = np.full(SIZE + 20, 3, np.uint8)
    decode_blocks(stored, table, out, start + 10)
    assert (out[10 : SIZE + 7] == VALUES[: SIZE - 3]).all()
    assert (out[:10] == 3).all()
    assert (out[SIZE + 7 :] == 3).all()


@pytest.mark.parametrize(("codec", "kind", "itemsize"), COMBINATIONS)
def test_decodes_what_the_twin_encodes(codec, kind, itemsize):
    raw = VALUES[:977].tobytes()
    source, table = reference.store([(raw, codec, kind, itemsize), (raw[:40], codec, kind, itemsize)], lead=3)
    for row, want in enumerate((raw, raw[:40])):
        got = decode_block(source, table, row)
        assert got.tobytes() == want
        assert got.flags.writeable
        assert got.flags.owndata


def test_frames_carry_their_size_and_no_checksum():
    stored, table = encode_blocks(VALUES, *cuts(SIZE), codec=1, filter=0, itemsize=4, level=3)
    assert of(table).codec[0] == 1
    parameters = zstandard.get_frame_parameters(stored.tobytes())
    assert parameters.content_size == SIZE
    assert not parameters.has_checksum


def test_noise_is_stored_plain():
    noise = RNG.integers(0, 256, 5000, np.uint8)
    for codec in (1, 2):
        stored, table = encode_blocks(noise, *cuts(5000), codec=codec, filter=1, itemsize=4, level=1)
        assert (stored.size, of(table).codec[0], of(table).filter[0]) == (5000, 0, 0)
        assert (stored == noise).all()


def test_no_blocks():
    stored, table = encode_blocks(VALUES, *cuts(), codec=1, filter=0, itemsize=1, level=1)
    assert stored.size == 0
    decode_blocks(stored, table, np.empty(0, np.uint8), np.empty(0, np.int64))


def test_reads_columns_of_any_integer_type_and_read_only():
    source, table = reference.store([(VALUES[:400].tobytes(), 1, 2, 4)])
    odd = np.asfortranarray(table)
    odd.flags.writeable = False
    for column in odd:
        column.flags.writeable = False
    assert (decode_block(source, odd, 0) == VALUES[:400]).all()


@pytest.mark.parametrize(
    "request_",
    [
        {"codec": 3},
        {"filter": 6},
        {"filter": 3, "itemsize": 2},
        {"filter": 4, "itemsize": 3},
        {"filter": 5, "itemsize": 1},
        {"fill": b"\0"},
        {"itemsize": 0},
        {"itemsize": 256},
        {"start": np.array([-1])},
        {"length": np.array([SIZE + 1])},
        {"length": np.array([1, 2])},
        {"start": np.array([[0]]), "length": np.array([[1]])},
        {"start": np.array([2**63 - 1]), "length": np.array([2**63 - 1])},
        {"raw": VALUES.view(np.float32)},
    ],
)
def test_bad_requests_to_encode(request_):
    usual = {"raw": VALUES, "start": np.array([0]), "length": np.array([9]), "codec": 1, "filter": 0, "itemsize": 4}
    with pytest.raises(ValueError):
        encode_blocks(**{**usual, **request_, "level": 1})


RAW = VALUES[:1003].tobytes()


def stored_as(codec, kind=2):
    return reference.store([(RAW, 1, 0, 1), (RAW, codec, kind, 4)], lead=7)


def fault_of(source, table, out_size=4000):
    """The fault of the second block, by both doors; nothing may be written outside its offset."""
    guard = np.full(out_size, 200, np.uint8)
    one = table[:, 1:]
    with pytest.raises(BlockError) as whole:
        decode_blocks(source, one, guard[1000:2003], np.zeros(1, np.int64))
    assert (guard[:1000] == 200).all()
    assert (guard[2003:] == 200).all()
    with pytest.raises(BlockError) as single:
        decode_block(source, table, 1)
    assert single.value.block == 1
    assert whole.value.block == 0
    return {whole.value.reason, single.value.reason}


@pytest.mark.parametrize("codec", [0, 1, 2])
def test_flipped_bytes_are_found(codec):
    source, table = stored_as(codec)
    for at in range(int(of(table).offset[1]), source.size, 41):
        broken = source.copy()
        broken[at] ^= 16
        assert fault_of(broken, table) == {"checksum"}


@pytest.mark.parametrize("codec", [1, 2])
def test_flipped_bytes_under_a_right_checksum_never_escape(codec):
    source, table = stored_as(codec)
    for at in range(int(of(table).offset[1]), source.size, 1 if JIT else 97):
        broken = source.copy()
        broken[at] ^= 0x5A
        sealed = reference.reseal(broken, table, 1)
        guard = np.full(4000, 200, np.uint8)
        one = sealed[:, 1:]
        reason = "length"
        try:
            decode_blocks(broken, one, guard[1000:2003], np.zeros(1, np.int64))
        except BlockError as fault:
            reason = fault.reason
        assert reason in ("codec", "length")
        assert (guard[:1000] == 200).all()
        assert (guard[2003:] == 200).all()


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize("raw", [0, 1, 1002, 4, 996])
def test_declared_too_small(codec, raw):
    source, table = stored_as(codec)
    assert fault_of(source, reference.change(table, 1, raw=raw)) <= {"length", "codec"}


@pytest.mark.parametrize("codec", [0, 1, 2])
@pytest.mark.parametrize("raw", [1004, 2**20, 2**40, 2**62, 2**63 - 1, -1, -(2**63)])
def test_declared_too_large_allocates_nothing(codec, raw):
    source, table = stored_as(codec)
    table = reference.change(table, 1, raw=raw)
    with pytest.raises(BlockError) as fault:
        decode_block(source, table, 1)
    assert fault.value.reason in ("length", "codec")


@pytest.mark.parametrize(
    "values",
    [
        {"offset": -1},
        {"offset": 2**63 - 1},
        {"offset": 100000},
        {"stored": -1},
        {"stored": 2**63 - 1},
        {"stored": -(2**63)},
        {"stored": 100000},
        {"offset": -(2**63), "stored": 2**63 - 1},
    ],
)
def test_blocks_outside_the_source(values):
    source, table = stored_as(1)
    assert fault_of(source, reference.change(table, 1, **values)) == {"bounds"}


@pytest.mark.parametrize(
    "values",
    [
        {"codec": 3},
        {"codec": 255},
        {"filter": 6},
        {"filter": 3, "itemsize": 2},
        {"filter": 4, "itemsize": 3},
        {"filter": 2, "itemsize": 0},
    ],
)
def test_unknown_codecs_and_filters(values):
    source, table = stored_as(1)
    assert fault_of(source, reference.change(table, 1, **values)) == {"codec"}


def test_a_frame_under_another_codec():
    for codec, other in ((1, 2), (2, 1)):
        source, table = stored_as(codec)
        assert fault_of(source, reference.change(table, 1, codec=other)) <= {"codec", "length"}


@pytest.mark.parametrize("damage", ["unsized", "hostile size", "two frames", "trailing", "empty", "skippable"])
def test_frames_that_no_writer_makes(damage):
    frame = zstandard.ZstdCompressor(write_content_size=damage != "unsized").compress(RAW)
    if damage == "hostile size":
        # Frame header: magic, descriptor 0x60 (2-byte size, one segment), content size minus 256.
        assert frame[4] == 0x60
        frame = frame[:4] + b"\xe0" + (2**60).to_bytes(8, "little") + frame[7:]
    elif damage == "two frames":
        half = zstandard.ZstdCompressor().compress(RAW[:500]), zstandard.ZstdCompressor().compress(RAW[500:])
        frame = b"".join(half)
    elif damage == "trailing":
        frame += b"\0"
    elif damage == "empty":
        frame = b""
    elif damage == "skippable":
        frame = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
    source = np.frombuffer(frame + b"x", np.uint8)
    wish = reference.table_of([(0, len(frame), len(RAW), 1, 0, 1, reference.checksum(frame))])
    with pytest.raises(BlockError) as fault:
        decode_block(source, wish, 0)
    assert fault.value.reason in ("codec", "length")


@pytest.mark.parametrize("offset", [-1, 1, 2**63 - 1, -(2**63)])
def test_places_outside_the_result(offset):
    source, table = stored_as(1)
    out = np.zeros(1003, np.uint8)
    with pytest.raises(BlockError) as fault:
        decode_blocks(source, table, out, np.array([0, offset]))
    assert (fault.value.block, fault.value.reason) == (1, "offset")
    assert not out.any()


def test_bad_requests_to_decode():
    source, table = stored_as(1)
    out = np.zeros(3000, np.uint8)
    for row in (-1, 2):
        with pytest.raises(ValueError):
            decode_block(source, table, row)
    with pytest.raises(ValueError):
        decode_blocks(source, table, out, np.zeros(1, np.int64))
    with pytest.raises(ValueError):
        decode_blocks(source, table[:6], out, np.zeros(2, np.int64))
    with pytest.raises(ValueError):
        decode_blocks(source.view(np.int8), table, out, np.zeros(2, np.int64))
    out.flags.writeable = False
    with pytest.raises(ValueError):
        decode_blocks(source, table, out, np.zeros(2, np.int64))


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("codec", [1, 2])
def test_planes_that_do_not_shrink_are_stored_as_they_are(codec, kind):
    count = 4000
    values = (RNG.random(count).astype("<f4") + 1).view(np.uint8)  # one exponent, 23 bits of noise
    stored, table = encode_blocks(values, *cuts(values.size), codec=codec, filter=kind, itemsize=4, level=1)
    lengths = stored[:16].view("<u4").tolist()
    assert lengths[:2] == [count, count]
    assert lengths[3] < count // 20
    shuffled = reference.shuffle(values.tobytes(), kind, 4)
    assert stored[16 : 16 + 2 * count].tobytes() == shuffled[: 2 * count]
    assert decode_block(stored, table, 0).tobytes() == values.tobytes()


def test_planes_of_even_bytes_that_repeat_are_compressed():
    values = np.arange(8192, dtype="<u2").view(np.uint8)
    stored, table = encode_blocks(values, *cuts(values.size), codec=1, filter=1, itemsize=2, level=1)
    assert stored.size < values.size // 10
    assert decode_block(stored, table, 0).tobytes() == values.tobytes()


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("codec", [1, 2])
def test_hostile_lengths_of_planes(codec, kind):
    raw = (RNG.random(64).astype("<f4") + 1).tobytes() + b"xyz"
    source, table = reference.store([(raw, codec, kind, 4)] * 2)
    begin = int(of(table).offset[1])
    right = source[begin : begin + 16].view("<u4").tolist()
    for plane in range(4):
        for length in {0, right[plane] - 1, right[plane] + 1, 64, 65, 2**31 - 1, 2**32 - 1} - {right[plane]}:
            forged = source.copy()
            forged[begin + 4 * plane : begin + 4 * plane + 4] = np.array([length], "<u4").view(np.uint8)
            assert fault_of(forged, reference.reseal(forged, table, 1)) <= {"length", "codec"}
    for size in range(1, 16):
        cut = reference.change(table, 1, stored=size)
        assert fault_of(source, reference.reseal(source, cut, 1)) <= {"length", "codec"}


def test_a_filter_goes_with_a_codec():
    source, table = stored_as(0)
    assert fault_of(source, reference.change(table, 1, filter=1)) == {"codec"}


@given(st.lists(st.binary(max_size=400), max_size=5), st.integers(0, 2), st.integers(0, 2), st.integers(1, 9))
def test_any_bytes_survive(blocks, codec, kind, itemsize):
    raw = np.frombuffer(b"".join(blocks), np.uint8)
    edges = np.cumsum([0, *map(len, blocks)])
    stored, table = encode_blocks(raw, edges[:-1], np.diff(edges), codec=codec, filter=kind, itemsize=itemsize, level=1)
    for row, want in enumerate(blocks):
        assert decode_block(stored, table, row).tobytes() == want


@given(st.binary(min_size=1, max_size=200), st.integers(1, 2), st.integers(0, 5000))
def test_garbage_under_a_right_checksum(stored, codec, raw):
    source = np.frombuffer(stored, np.uint8)
    table = reference.table_of([(0, len(stored), raw, codec, 2, 4, reference.checksum(stored))])
    reason = "length"
    try:
        assert decode_block(source, table, 0).size == raw
    except BlockError as fault:
        reason = fault.reason
    assert reason in ("codec", "length")


def test_choose_filter():
    start, length = cuts(SIZE // 2, SIZE)
    steps = np.arange(SIZE // 4, dtype=np.int32).view(np.uint8)
    text = np.frombuffer(b"the same words again and again, " * (SIZE // 32 + 1), np.uint8)[:SIZE]
    noise = RNG.integers(0, 256, SIZE, np.uint8)

    def choose(raw, codec=1, itemsize=4):
        return choose_filter(raw, start, length, codec=codec, dtype=np.dtype(f"u{itemsize}"), level=1)

    assert choose(steps) == 4
    assert choose(text) == 0
    assert choose(text, itemsize=1) == 0
    assert choose(RNG.integers(0, 2, SIZE, np.uint8), itemsize=1) == 2
    assert choose(steps, codec=0) == 0
    assert choose(noise) == 0
    assert choose_filter(steps, start[:0], length[:0], codec=1, dtype=np.dtype("u4"), level=1) == 0


def test_threads_and_forks_have_contexts_of_their_own():
    start, length = cuts(*range(200, 1001, 200))
    stored, table = encode_blocks(VALUES, start, length, codec=1, filter=2, itemsize=4, level=1)
    wrong = []

    def work():
        for _ in range(30 if JIT else 2):
            out = np.zeros(1000, np.uint8)
            decode_blocks(stored, table, out, start)
            wrong.append(not (out == VALUES[:1000]).all())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong
    assert not any(wrong)
    child = os.fork()
    if child == 0:
        os._exit(0 if (decode_block(stored, table, 1) == VALUES[200:400]).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_faults_tell_row_and_reason():
    fault = BlockError(3, "length")
    assert (fault.block, fault.reason, str(fault)) == (3, "length", "block 3: length")
