"""What a verification returns: values that terminals and notebooks show in a few lines. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Damage", "VerifyReport"]

_MOST_SHOWN = 10
"""Damaged pieces that a report shows; `damage` has them all."""
_WIDEST = 40
"""Characters of a table's cell that are shown."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged piece: a file, array, dataset or chunk. A field is None where it is unknown or does not apply."""

    file: str
    """Key of the file within the store."""
    array: str | None
    """Array whose data is damaged."""
    dataset: str | None
    """Dataset whose data is damaged."""
    chunk: tuple[int, ...] | None
    """Position of the chunk in the array's grid, one number an axis."""
    what: str
    """What is wrong."""

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the fields as text, in the order of the columns of a table."""
        chunk = "" if self.chunk is None else ",".join(map(str, self.chunk)) or "()"
        return self.file, self.array or "", self.dataset or "", chunk, self.what


@dataclass(frozen=True, slots=True, repr=False)
class VerifyReport:
    """What `verify` read and found."""

    store: str
    """Location of the store."""
    version: int
    """The version that was read, -1 where none can be opened."""
    damage: tuple[Damage, ...]
    """Every damaged piece, in the order of the files."""
    files: int
    """Files that were read, or are missing."""
    blocks: int
    """Blocks that were decoded."""
    chunks: int
    """Chunks of the version that were compared with their rows in the index."""
    bytes: int
    """Bytes that were read."""
    datasets: int
    """Datasets of the version."""
    orphans: int | None = None
    """Files that no version names, which the next compaction removes; None where files cannot be listed."""
    repaired: tuple[str, ...] = ()
    """Files that were written anew, and from what."""
    exported: str | None = None
    """Location of the store that what is whole was written to."""
    left_out: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What was not exported: dataset and array."""

    @property
    def ok(self) -> bool:
        """Whether nothing was damaged when it was read; a repair does not change it."""
        return not self.damage

    def summary(self) -> str:
        """Return the findings in one line."""
        version = f"version {self.version}" if self.version >= 0 else "no version that can be opened"
        read = (
            f"{_count(self.files, 'file')}, {_count(self.blocks, 'block')}, {_count(self.chunks, 'chunk')}, "
            f"{self.bytes:,} bytes"
        )
        found = "whole" if self.ok else _count(len(self.damage), "damaged piece")
        return f"{self.store}, {version}: {found} ({read})"

    def _rows(self) -> Iterator[Sequence[str]]:
        yield "file", "array", "dataset", "chunk", "what"
        for damage in self.damage[:_MOST_SHOWN]:
            yield damage.cells()

    def _tail(self) -> Iterator[str]:
        if len(self.damage) > _MOST_SHOWN:
            yield f"… and {len(self.damage) - _MOST_SHOWN:,} more in .damage"
        if self.repaired:
            yield f"repaired: {'; '.join(self.repaired)}"
        if self.exported is not None:
            left = f", {_count(len(self.left_out), 'array')} left out" if self.left_out else ""
            yield f"exported to {self.exported}{left}"

    def __repr__(self) -> str:
        """Return the summary and the first damaged pieces in columns."""
        lines = [f"<VerifyReport {self.summary()}>"]
        if self.damage:
            rows = [[_short(cell) for cell in row] for row in self._rows()]
            widths = [max(len(row[at]) for row in rows) for at in range(4)]
            lines += ["  ".join([*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
        return "\n".join([*lines, *self._tail()])

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        table = ""
        if rows:
            header = "".join(f"<th>{cell}</th>" for cell in head)
            body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
            table = f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
        tail = "".join(f"<p>{escape(line)}</p>" for line in self._tail())
        return f"<p>{escape(self.summary())}</p>{table}{tail}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else what + 's'}"


def _short(text: str) -> str:
    # The end of a key tells files of one array apart.
    return text if len(text) <= _WIDEST or " " in text else f"…{text[1 - _WIDEST :]}"
