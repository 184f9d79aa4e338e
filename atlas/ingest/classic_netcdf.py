"""How long a classic NetCDF file must be, by its header: a file that was cut short reads as zeros where it ends.

CDF-1, CDF-2 and CDF-5, as the specification of the NetCDF classic formats by Unidata says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, BinaryIO

from atlas.errors import InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_length"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Bytes of a value, by the number of its type."""
_MOST = 1 << 31
"""Entries of a list, and bytes of a name, beyond which a header is damaged."""


def check_length(path: Path) -> None:
    """Raise `InvalidValueError` where a classic NetCDF file is shorter than its header says, or the header is damaged.

    Other files pass.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
            return
        try:
            wanted = _Header(file, magic[3]).length()
        except (EOFError, KeyError, IndexError, OverflowError) as error:
            raise InvalidValueError(
                f"{path.name} is a classic NetCDF file whose header is cut short or damaged; fetch it again"
            ) from error
        size = file.seek(0, 2)
    if size < wanted:
        raise InvalidValueError(
            f"{path.name} has {size:,} bytes and its header says {wanted:,}: it was cut short, and what is missing "
            "would read as zeros; fetch it again"
        )


class _Header:
    """Reads a header from the byte after its magic on."""

    def __init__(self, file: BinaryIO, version: int) -> None:
        self._file = file
        self._count_bytes = 8 if version == 5 else 4
        self._offset_bytes = 4 if version == 1 else 8

    def length(self) -> int:
        """Return the number of bytes up to the last value that the header places."""
        records = self._integer(self._count_bytes)
        if records == (1 << 8 * self._count_bytes) - 1:  # of a file that is being written
            records = 0
        dims = []
        for _ in range(self._list_length()):
            self._name()
            dims.append(self._integer(self._count_bytes))
        self._attributes()
        ends, of_records = [], []
        for _ in range(self._list_length()):
            self._name()
            own = [dims[self._integer(self._count_bytes)] for _ in range(self._count())]
            self._attributes()
            size = _SIZES[self._integer(4)]
            self._integer(self._count_bytes)  # the size of the variable, which does not hold large ones
            begin = self._integer(self._offset_bytes)
            if own and own[0] == 0:
                of_records.append((begin, size * math.prod(own[1:])))
            else:
                ends.append(begin + size * math.prod(own))
        # Each variable of a record is filled up to 4 bytes, unless it is the only one.
        padded = [-(-size // 4) * 4 for _, size in of_records] if len(of_records) > 1 else [s for _, s in of_records]
        if records:
            ends += [begin + (records - 1) * sum(padded) + size for begin, size in of_records]
        return max(ends, default=0)

    def _list_length(self) -> int:
        self._integer(4)  # the tag, 0 where the list is absent
        return self._count()

    def _count(self) -> int:
        found = self._integer(self._count_bytes)
        if found > _MOST:
            raise OverflowError(found)
        return found

    def _attributes(self) -> None:
        for _ in range(self._list_length()):
            self._name()
            size = _SIZES[self._integer(4)]
            self._skip(-(-self._count() * size // 4) * 4)

    def _name(self) -> None:
        self._skip(-(-self._count() // 4) * 4)

    def _skip(self, count: int) -> None:
        if len(self._file.read(count)) < count:
            raise EOFError

    def _integer(self, count: int) -> int:
        read = self._file.read(count)
        if len(read) < count:
            raise EOFError
        return int.from_bytes(read, "big")
