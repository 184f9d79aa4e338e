from __future__ import annotations

import lz4.frame
import numpy as np
import orjson
import ormsgpack
import pytest
import xxhash
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import CorruptStoreError, InvalidTypeError, InvalidValueError
from atlas.format.documents import CHECKPOINT_NAMES, Encoding, parse_encoding, sealed

ENCODINGS = list(CHECKPOINT_NAMES.values())
every_encoding = pytest.mark.parametrize("encoding", ENCODINGS, ids=CHECKPOINT_NAMES)
DOCUMENT = {
    "atlas": "commit",
    "numbers": [0, -1, 2**63 - 1, -(2**63), 1.0, -0.0, 0.1, 5e-324],
    "names": ["", "Ålesund", "\0", "0000000000000000", '"xxh3"'],
    "nested": {"a": [{"b": None}, True, False]},
}
MANY_FIELDS = {f"field {at}": at for at in range(70_000)}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def same(one, other):
    return orjson.dumps(one) == orjson.dumps(other) and repr(one) == repr(other)


@every_encoding
@pytest.mark.parametrize(
    "document",
    [{}, DOCUMENT, MANY_FIELDS, dict.fromkeys(map(str, range(14)), 1), dict.fromkeys(map(str, range(15)), 1)],
)
def test_documents_come_back(encoding, document):
    assert same(encoding.decode(encoding.encode(document)), document)


@given(
    st.sampled_from(ENCODINGS), st.dictionaries(st.text().filter(lambda key: key != "xxh3"), json_values, max_size=5)
)
def test_any_document_comes_back(encoding, document):
    assert same(encoding.decode(encoding.encode(document)), document)


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_the_checksum_stands_first_and_is_of_the_document_with_zeros(form):
    stored = Encoding(form, "").encode({"a": 1})
    at = stored.index(b"xxh3") + (7 if form == "json" else 5)
    digits = stored[at : at + 16]
    assert digits == xxhash.xxh3_64_hexdigest(stored.replace(digits, b"0" * 16)).encode()
    document = orjson.loads(stored) if form == "json" else ormsgpack.unpackb(stored)
    assert list(document) == ["xxh3", "a"]


@every_encoding
def test_no_damaged_byte_goes_unseen(encoding):
    stored = encoding.encode(DOCUMENT)
    for at in range(len(stored)):
        for flip in (*(1 << bit for bit in range(8)), 0xFF):
            damaged = bytearray(stored)
            damaged[at] ^= flip
            with pytest.raises(CorruptStoreError):
                encoding.decode(bytes(damaged))


@pytest.mark.parametrize("more", [b"\0", bytes(16)])
@every_encoding
def test_nothing_follows_a_document(encoding, more):
    stored = encoding.encode(DOCUMENT)
    for longer in (stored + more, stored + stored):
        with pytest.raises(CorruptStoreError):
            encoding.decode(longer)


@pytest.mark.parametrize("suffix", [".zst", ".lz4"])
def test_other_programs_pass_over_the_checksum_of_compressed_bytes(suffix):
    stored = Encoding("json", suffix).encode(DOCUMENT)
    if suffix == ".lz4":
        body = lz4.frame.LZ4FrameDecompressor().decompress(stored)
    else:
        body = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True).read()
    assert body == Encoding("json", "").encode(DOCUMENT)


@every_encoding
def test_no_cut_goes_unseen(encoding):
    stored = encoding.encode(DOCUMENT)
    for stop in range(len(stored)):
        with pytest.raises(CorruptStoreError):
            encoding.decode(stored[:stop])


@every_encoding
@pytest.mark.parametrize("data", [b"", b"{}", b"\x80", b"null", b"xxh3", bytes(100), b'{"xxh3":"', b"\x81\xa4xxh3\xb0"])
def test_other_files_are_refused(encoding, data):
    for stored in (data, sealed(zstandard.compress(data)), sealed(lz4.frame.compress(data))):
        with pytest.raises(CorruptStoreError):
            encoding.decode(stored)


def signed(body):
    at = body.index(b"0" * 16)
    return body[:at] + xxhash.xxh3_64_hexdigest(body).encode() + body[at + 16 :]


@pytest.mark.parametrize(
    "body",
    [
        b'{"xxh3":"0000000000000000"',
        b'{"xxh3":"0000000000000000"} {}',
        b'{"xxh3":"0000000000000000","a":NaN}',
        b'{"xxh3":"0000000000000000","a":"\xff"}',
        b'["xxh3","0000000000000000"]',
    ],
)
def test_a_right_checksum_does_not_excuse_what_is_no_document(body):
    with pytest.raises(CorruptStoreError):
        Encoding("json", "").decode(signed(body))


def test_deep_nesting_is_refused_and_not_a_crash():
    for form, opening, closing in (("json", b"[", b"]"), ("msgpack", b"\x91", b"\x90")):
        head = b'{"xxh3":"0000000000000000","a":' if form == "json" else b"\x82\xa4xxh3\xb00000000000000000\xa1a"
        body = (
            head + opening * 100_000 + closing * (100_000 if form == "json" else 1) + (b"}" if form == "json" else b"")
        )
        with pytest.raises(CorruptStoreError):
            Encoding(form, "").decode(signed(body))


@pytest.mark.parametrize("size", [1 << 24, 1 << 28])
def test_bombs_are_refused(size):
    pack = zstandard.ZstdCompressor(level=3).compressobj(size=size)
    parts = [pack.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    bomb = b"".join([*parts, pack.flush()])
    assert len(bomb) * 2000 < size
    with pytest.raises(CorruptStoreError, match="declare to decode"):
        Encoding("json", ".zst").decode(sealed(bomb))


def test_an_lz4_bomb_is_not_unpacked_in_full():
    packer = lz4.frame.LZ4FrameCompressor()
    size = 1 << 24
    bomb = packer.begin() + b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    small = bomb[: len(bomb) // 300]
    for some, why in ((small, "cut short or decodes to more"), (bomb, "does not begin with a checksum")):
        with pytest.raises(CorruptStoreError, match=why):
            Encoding("json", ".lz4").decode(sealed(some))


def test_a_frame_of_no_declared_size_is_refused():
    body = Encoding("json", "").encode(DOCUMENT)
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(body)
    with pytest.raises(CorruptStoreError, match="declare to decode"):
        Encoding("json", ".zst").decode(sealed(frame))


def test_the_names_of_encodings():
    assert list(CHECKPOINT_NAMES) == [
        "atlas.json",
        "atlas.json.zst",
        "atlas.json.lz4",
        "atlas.msgpack",
        "atlas.msgpack.zst",
        "atlas.msgpack.lz4",
    ]
    assert parse_encoding("JSON", "None") == parse_encoding("json", "UNCOMPRESSED") == Encoding("json", "")
    assert parse_encoding("mp", "zstd") == parse_encoding("MsgPack", "Zstd") == Encoding("msgpack", ".zst")
    assert parse_encoding("json", "lz4").compressed() == Encoding("json", ".lz4")
    assert Encoding("msgpack", "").compressed().extension == ".msgpack.zst"


@pytest.mark.parametrize(("form", "packed"), [("yaml", "none"), ("json", "gzip"), ("", "none"), ("json", "")])
def test_unknown_names_are_refused(form, packed):
    with pytest.raises(InvalidValueError, match="unknown meta_"):
        parse_encoding(form, packed)


@pytest.mark.parametrize(("form", "packed"), [(None, "none"), ("json", None), (1, "none"), ("json", np.str_)])
def test_names_that_are_no_text_are_refused(form, packed):
    with pytest.raises(InvalidTypeError, match="is a str"):
        parse_encoding(form, packed)


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_document_of_monotonous_text_is_not_taken_for_a_bomb(form, compression):
    encoding = parse_encoding(form, compression)
    document = {"atlas": "commit", "text": " " * 20_000_000}
    assert encoding.decode(encoding.encode(document))["text"] == document["text"]
