"""How long a classic NetCDF file must be, by its header: a file that was cut short reads as zeros where it ends.

CDF-1, CDF-2 and CDF-5, as the specification of the NetCDF classic formats by Unidata says. What a damaged header claims
costs neither time nor memory: nothing is read but its numbers.
"""

from __future__ import annotations

import math
from typing import BinaryIO

from atlas.errors import InvalidValueError

__all__ = ["MAGIC", "check_length"]

MAGIC = b"CDF"
"""The first bytes of a file; the next says which of the formats it is."""

_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
"""Tags of lists."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Bytes of a value, by the number of its type."""
_MOST_ENTRIES = 1 << 20
"""Entries of all lists together beyond which a header is taken for damaged; they take seconds."""
_MOST_AXES = 1024
"""Dimensions of a variable beyond which the C library reads none."""


def check_length(name: str, file: BinaryIO) -> None:
    """Raise `InvalidValueError` where a classic NetCDF file is shorter than its header says, or the header is damaged.

    `name` is that of the file, for the message. Other files pass.
    """
    magic = file.read(4)
    if magic[:3] != MAGIC or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
        return
    size = file.seek(0, 2)
    file.seek(4)
    try:
        wanted = _Header(file, magic[3], size).length()
    except _DamageError as error:
        raise InvalidValueError(
            f"{name} is a classic NetCDF file whose header is cut short or damaged; fetch it again"
        ) from error
    if wanted is None:
        raise InvalidValueError(
            f"{name} does not say how many records it has, as while it is being written: add it once it is closed"
        )
    if size < wanted:
        raise InvalidValueError(
            f"{name} has {size:,} bytes and its header says {wanted:,}: it was cut short, and what is missing "
            "would read as zeros; fetch it again"
        )


class _DamageError(Exception):
    """A header says what none can say."""


class _Header:
    """Reads a header from the byte after its magic on."""

    def __init__(self, file: BinaryIO, version: int, size: int) -> None:
        self._file, self._size = file, size
        self._count_bytes = 8 if version == 5 else 4
        self._offset_bytes = 4 if version == 1 else 8
        self._entries = 0

    def length(self) -> int | None:
        """Return the number of bytes up to the last value; None where records are not counted."""
        records = self._integer(self._count_bytes)
        dims = []
        for _ in self._list(_DIMENSIONS):
            self._skip_name()
            dims.append(self._integer(self._count_bytes))
        self._skip_attributes()
        ends, of_records = [], []
        for _ in self._list(_VARIABLES):
            self._skip_name()
            own = self._lengths(dims)
            self._skip_attributes()
            size = self._value_size()
            self._integer(self._count_bytes)  # the size of the variable, which does not hold large ones
            begin = self._integer(self._offset_bytes)
            if own and own[0] == 0:
                of_records.append((begin, size * math.prod(own[1:])))
            else:
                ends.append(begin + size * math.prod(own))
        if of_records and records == (1 << 8 * self._count_bytes) - 1:
            return None
        # Each variable of a record is filled up to 4 bytes, unless it is the only one.
        padded = [-(-size // 4) * 4 for _, size in of_records] if len(of_records) > 1 else [s for _, s in of_records]
        if records:
            ends += [begin + (records - 1) * sum(padded) + size for begin, size in of_records]
        return max(ends, default=0)

    def _list(self, tag: int) -> range:
        """Return a range over the entries of the list that comes next."""
        found, count = self._integer(4), self._integer(self._count_bytes)
        self._entries += count
        is_list = found == tag or (found == 0 and count == 0)
        if not is_list or self._entries > _MOST_ENTRIES:
            raise _DamageError
        return range(count)

    def _lengths(self, dims: list[int]) -> list[int]:
        """Return the lengths of the dimensions of a variable."""
        count = self._integer(self._count_bytes)
        numbers = [self._integer(self._count_bytes) for _ in range(min(count, _MOST_AXES))]
        if count > _MOST_AXES or any(number >= len(dims) for number in numbers):
            raise _DamageError
        return [dims[number] for number in numbers]

    def _skip_attributes(self) -> None:
        for _ in self._list(_ATTRIBUTES):
            self._skip_name()
            size = self._value_size()
            self._skip(size * self._integer(self._count_bytes))

    def _skip_name(self) -> None:
        self._skip(self._integer(self._count_bytes))

    def _skip(self, count: int) -> None:
        """Pass over bytes, and over those that fill them up to 4."""
        end = self._file.tell() + -(-count // 4) * 4
        if end > self._size:
            raise _DamageError
        self._file.seek(end)

    def _value_size(self) -> int:
        size = _SIZES.get(self._integer(4))
        if size is None:
            raise _DamageError
        return size

    def _integer(self, count: int) -> int:
        read = self._file.read(count)
        if len(read) < count:
            raise _DamageError
        return int.from_bytes(read, "big")
