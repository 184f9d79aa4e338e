"""The columns of a segment's index: fixed-width integers, encoded on disk, NumPy arrays in memory. No I/O.

An index is a directory of columns and then their payloads (docs/format.md, "Index"). The encoder takes the smallest of
five encodings for each column: constant columns, which most stores have, take 8 bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from atlas.errors import CorruptStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["count_values", "decode_columns", "encode_columns", "encode_single_rows"]

_DTYPES = (np.dtype("<u1"), np.dtype("<i8"), np.dtype("<u8"))
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_PLAIN, _CONSTANT, _SEQUENCE, _PACKED, _DELTAS = range(5)
_ITEMS = (0, 1, 2)
"""Values in a payload of each encoding of known length; of a plain one, the number of values of the column."""
_COUNT = struct.Struct("<Q")
_ENTRY = struct.Struct("<16sBB6xQQQ")
_LEVEL = 3


def _shuffled(values: NDArray[Any]) -> bytes:
    width = values.dtype.itemsize
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, width).T).tobytes()


def _encode(values: NDArray[Any]) -> tuple[int, bytes]:
    if len(values) == 0:
        return _PLAIN, b""
    if len(values) == 1:
        return _CONSTANT, values.tobytes()
    if (values == values[0]).all():
        return _CONSTANT, values[:1].tobytes()
    wide = values.dtype.itemsize == 8
    steps = values[1:] - values[:-1] if wide else values[:0]
    if wide and (steps == steps[0]).all():
        return _SEQUENCE, values[:1].tobytes() + steps[:1].tobytes()
    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    candidates = [(_PLAIN, values.tobytes()), (_PACKED, compress(_shuffled(values)))]
    if wide:
        candidates.append((_DELTAS, compress(_shuffled(np.concatenate([values[:1], steps])))))
    return min(candidates, key=lambda candidate: len(candidate[1]))


def encode_columns(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the index that holds `columns`: 1-D arrays of uint8, int64 or uint64 by name."""
    entries, payloads = [], []
    offset = _COUNT.size + _ENTRY.size * len(columns)
    for name, values in columns.items():
        code = _CODES[values.dtype.newbyteorder("<")]
        encoding, payload = _encode(np.ascontiguousarray(values, _DTYPES[code]))
        entries.append(_ENTRY.pack(name.encode("ascii"), code, encoding, len(values), offset, len(payload)))
        payloads.append(payload)
        offset += len(payload)
    return b"".join([_COUNT.pack(len(columns)), *entries, *payloads])


def encode_single_rows(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Return what `encode_columns` returns for each row of `columns` alone, (N, bytes), for N of 1 or more.

    `columns` are (N,) each, or empty where no row has a value. One value is a constant column, so that all the indexes
    have one directory, and differ only in the values that follow it.
    """
    indexes = np.tile(
        np.frombuffer(encode_columns({name: values[:1] for name, values in columns.items()}), np.uint8),
        (max(map(len, columns.values())), 1),
    )
    at = _COUNT.size + _ENTRY.size * len(columns)
    for values in columns.values():
        width = values.dtype.itemsize * min(len(values), 1)
        if width:
            stored = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            indexes[:, at : at + width] = stored.view(np.uint8).reshape(-1, width)
        at += width
    return indexes


def _unshuffled(payload: memoryview, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    expected = count * dtype.itemsize
    if zstandard.frame_content_size(payload) != expected:
        raise CorruptStoreError(f"its zstd frame does not declare the {expected} bytes of {count} values")
    raw = zstandard.ZstdDecompressor().decompress(payload, max_output_size=expected)
    if len(raw) != expected:
        raise CorruptStoreError(f"it decodes to {len(raw)} bytes instead of {expected}")
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, count)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def _decode(encoding: int, payload: memoryview, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    if encoding < len(_ITEMS):
        needs = (count if encoding == _PLAIN else _ITEMS[encoding]) * dtype.itemsize
        if len(payload) != needs:
            raise CorruptStoreError(f"it has {len(payload)} bytes where its encoding needs {needs}")
    if encoding == _PLAIN:
        return np.frombuffer(payload, dtype).copy()
    if encoding == _CONSTANT:
        values = np.empty(count, dtype)
        values[:] = np.frombuffer(payload, dtype)
        return values
    if encoding == _SEQUENCE:
        start_and_step = np.frombuffer(payload, dtype)
        values = np.arange(count, dtype=dtype)
        values *= start_and_step[1:]
        values += start_and_step[:1]
        return values
    if encoding == _PACKED:
        return _unshuffled(payload, dtype, count)
    if encoding == _DELTAS:
        return np.cumsum(_unshuffled(payload, dtype, count), dtype=dtype)
    raise CorruptStoreError(f"its encoding {encoding} is unknown")


def _directory(index: bytes) -> Iterator[tuple[str, int, int, int, int, int]]:
    """Yield name, dtype, encoding, number of values, and offset and length of the payload of each column."""
    if len(index) < _COUNT.size:
        raise CorruptStoreError(f"the index has {len(index)} bytes, less than its column count takes")
    (number,) = _COUNT.unpack_from(index)
    if number > (len(index) - _COUNT.size) // _ENTRY.size:
        raise CorruptStoreError(f"the index of {len(index)} bytes declares {number} columns")
    for raw_name, *rest in _ENTRY.iter_unpack(memoryview(index)[_COUNT.size : _COUNT.size + number * _ENTRY.size]):
        yield raw_name.rstrip(b"\0").decode("ascii", "replace"), *rest


def count_values(index: bytes) -> dict[str, int]:
    """Return how many values each column of an index declares, by its name."""
    return {name: count for name, _, _, count, _, _ in _directory(index)}


def decode_columns(index: bytes, counts: Mapping[str, tuple[np.dtype[Any], int]]) -> dict[str, NDArray[Any]]:
    """Return the columns that `counts` names, each with its dtype and number of values.

    Other columns are ignored. Raises `CorruptStoreError` for a missing column, another dtype or number of values, and
    a payload outside the index or of a wrong length. The caller must have bounded the counts: a constant column of any
    length takes eight bytes.
    """
    columns: dict[str, NDArray[Any]] = {}
    payloads = memoryview(index)
    for name, dtype_code, encoding, count, offset, length in _directory(index):
        if name not in counts:
            continue
        expected_dtype, expected_count = counts[name]
        if dtype_code >= len(_DTYPES) or _DTYPES[dtype_code] != expected_dtype or count != expected_count:
            raise CorruptStoreError(f"index column {name!r} is not {expected_count} values of {expected_dtype}")
        if offset > len(index) or length > len(index) - offset:
            raise CorruptStoreError(f"index column {name!r} lies outside the index")
        try:
            columns[name] = _decode(encoding, payloads[offset : offset + length], _DTYPES[dtype_code], count)
        except (CorruptStoreError, zstandard.ZstdError, ValueError) as error:
            raise CorruptStoreError(f"index column {name!r} is damaged: {error}") from error
    missing = [name for name in counts if name not in columns]
    if missing:
        raise CorruptStoreError(f"the index lacks the column {missing[0]!r}")
    return columns
