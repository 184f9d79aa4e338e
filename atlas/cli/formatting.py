"""Values, sizes and tables as text, as wide as the terminal or 80 columns. Reads nothing but the terminal width."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["count_text", "size_text", "table_lines", "value_text", "wrapped", "wrapped_under"]

_MAX_ITEMS = 8


def width() -> int:
    """Return the columns of the terminal; 80 where there is none."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def size_text(size: int) -> str:
    """Return a number of bytes with a unit: `512 B`, `1.5 KiB`, `23 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"


def count_text(count: int, what: str) -> str:
    """Return a count with its noun: `1 file`, `1,200 files`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def value_text(value: object) -> str:
    """Return an attribute or statistic as text: strings in quotes, only the first items of arrays and lists."""
    if isinstance(value, np.ndarray | list | tuple):
        items = list(value.reshape(-1)) if isinstance(value, np.ndarray) else list(value)
        shown = ", ".join(value_text(item) for item in items[:_MAX_ITEMS])
        return f"[{shown}, … {len(items)} values]" if len(items) > _MAX_ITEMS else f"[{shown}]"
    if isinstance(value, bytes | np.bytes_):
        return value_text(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, str | np.str_):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        # Not via float: a float32 prints as 0.1, not as 0.10000000149011612.
        return str(value)
    if isinstance(value, np.datetime64):
        return str(value).removesuffix(".000000000").removesuffix("T00:00:00")
    return "-" if value is None else str(value).removesuffix(" 00:00:00")


def wrapped(head: str, text: str, indent: int) -> str:
    """Return `head` and `text` wrapped, with later lines indented by four columns more."""
    return textwrap.fill(
        head + text,
        width=width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def wrapped_under(head: str, text: str) -> str:
    """Return `head` and `text` wrapped, with later lines aligned under the start of `text`."""
    room = max(20, width() - len(head))
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join((" " * len(head) + line if number else head + line).rstrip() for number, line in enumerate(lines))


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a table, with the first column left-aligned and the others right-aligned.

    A first cell that leaves too little room for the others gets a line of its own.
    """
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(1, len(header))]
    room = width() - indent - sum(widths) - 2 * len(widths)
    lengths = [len(row[0]) for row in [header, *rows]]
    first = max([n for n in lengths if n <= max(room, 12)], default=12)
    for row in [header, *rows]:
        cells = "".join(f"  {cell:>{size}}" for cell, size in zip(row[1:], widths, strict=True))
        if len(row[0]) > first:
            yield " " * indent + row[0]
            yield (" " * (indent + first) + cells).rstrip()
        else:
            yield (" " * indent + f"{row[0]:<{first}}" + cells).rstrip()
