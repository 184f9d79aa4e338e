"""Values, sizes and tables as text of 80 columns or the terminal's. Pure but for the terminal's width."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["count_text", "hanging", "size_text", "table_lines", "value_text", "wrapped"]

_MOST_ITEMS = 8


def width() -> int:
    """Return the columns there are; 80 where nobody knows."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def size_text(size: int) -> str:
    """Return a number of bytes for people: `512 B`, `1.5 KiB`, `23 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"


def count_text(count: int, what: str) -> str:
    """Return `1 file`, `1,200 files`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def value_text(value: object) -> str:
    """Return an attribute or statistic: text in quotes, arrays and lists by their first items."""
    if isinstance(value, np.ndarray | list | tuple):
        items = list(value.reshape(-1)) if isinstance(value, np.ndarray) else list(value)
        shown = ", ".join(value_text(item) for item in items[:_MOST_ITEMS])
        return f"[{shown}, … {len(items)} values]" if len(items) > _MOST_ITEMS else f"[{shown}]"
    if isinstance(value, bytes | np.bytes_):
        return value_text(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, str | np.str_):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        # A float32 is shown by its own digits: 0.1, not 0.10000000149011612.
        return str(value)
    if isinstance(value, np.datetime64):
        return str(value).removesuffix(".000000000").removesuffix("T00:00:00")
    return "-" if value is None else str(value).removesuffix(" 00:00:00")


def wrapped(head: str, text: str, indent: int) -> str:
    """Return `head` and `text` over as many lines as they need, continued four columns deeper."""
    return textwrap.fill(
        head + text,
        width=width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def hanging(head: str, text: str) -> str:
    """Return `head` and `text` over as many lines as they need, continued below where `text` begins."""
    room = max(20, width() - len(head))
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join((" " * len(head) + line if number else head + line).rstrip() for number, line in enumerate(lines))


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> Iterator[str]:
    """Yield an aligned table: the first column to the left, the others to the right.

    A first cell too long to leave the others room stands on a line of its own.
    """
    others = [max(len(row[at]) for row in [header, *rows]) for at in range(1, len(header))]
    room = width() - indent - sum(others) - 2 * len(others)
    lengths = [len(row[0]) for row in [header, *rows]]
    first = max([n for n in lengths if n <= max(room, 12)], default=12)
    for row in [header, *rows]:
        cells = "".join(f"  {cell:>{size}}" for cell, size in zip(row[1:], others, strict=True))
        if len(row[0]) > first:
            yield " " * indent + row[0]
            yield (" " * (indent + first) + cells).rstrip()
        else:
            yield (" " * indent + f"{row[0]:<{first}}" + cells).rstrip()
