"""The options of `Atlas.add_many`, checked. Reads nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.names import check_names
from atlas.runtime.arguments import check_choice, check_flag

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import xarray as xr

__all__ = [
    "Encoding",
    "Every",
    "Groups",
    "IfExists",
    "IngestOptions",
    "OnError",
    "OnUnsupported",
    "Paths",
    "ReportFile",
    "Sources",
]

Paths: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
"""Folders, files and patterns."""
ReportFile: TypeAlias = "str | os.PathLike[str]"
"""A file that a report is written to."""
Sources: TypeAlias = "Paths | Mapping[str, xr.Dataset] | Iterable[tuple[str, xr.Dataset]]"
"""What becomes datasets."""

IfExists: TypeAlias = Literal["error", "skip", "replace", "update"]
"""What becomes of a source whose dataset the store has, but not as the source is now."""
OnError: TypeAlias = Literal["raise", "skip"]
"""What becomes of the rest where a source cannot be stored."""
OnUnsupported: TypeAlias = Literal["raise", "drop", "raw"]
"""What becomes of a variable that is not stored, or cannot be decoded."""
Encoding: TypeAlias = Literal["keep", "drop"]
"""Whether datasets keep the encodings of their sources."""
Groups: TypeAlias = Literal["refuse", "flatten"]
"""What becomes of a file with groups."""

_UNITS = {"s": 1, "min": 60, "h": 3600, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "files": 1, "file": 1}
_FIELD = {"s": "seconds", "min": "seconds", "h": "seconds", "files": "files", "file": "files"}


@dataclass(frozen=True, slots=True)
class Every:
    """How much is added before it is committed: one of these, the others are 0."""

    seconds: float = 0.0
    """Seconds since the last commit."""
    files: int = 0
    """Files."""
    size: int = 0
    """Bytes of cells."""

    @classmethod
    def parse(cls, text: object) -> Every:
        """Return what a text such as "5 min", "50 files" or "256 MiB" says.

        Raises `InvalidValueError` for another text, and `InvalidTypeError` for what is no text.
        """
        if not isinstance(text, str):
            raise InvalidTypeError(f"flush_every is a text with a unit, not {text!r}; write '5 min' or '256 MiB'")
        match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
        if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
            raise InvalidValueError(
                f"flush_every is a number above 0 and one of the units {', '.join(_UNITS)}, not {text!r}; write "
                "'5 min', '50 files' or '256 MiB'"
            )
        amount, name = float(match[1]) * _UNITS[match[2]], _FIELD.get(match[2], "size")
        return cls(**{name: amount if name == "seconds" else max(int(amount), 1)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How sources become datasets, see `Atlas.add_many`."""

    drop: Sequence[str] = ()
    """Variables to leave out."""
    chunks: Mapping[str, int] | None = None
    """Lengths of chunks by dimension."""
    raw: bool = False
    """Whether packed values, missing values and times stay as they are in the file."""
    if_exists: IfExists = "error"
    """What becomes of a source whose dataset the store has, but not as the source is now."""
    on_error: OnError = "raise"
    """What becomes of the rest where a source cannot be stored."""
    on_unsupported: OnUnsupported = "raise"
    """What becomes of a variable that is not stored, or cannot be decoded."""
    resume: bool = True
    """Whether sources that the store has already, unchanged, are passed over."""
    flush_every: str = "5 min"
    """How much is added before it is committed, see `Every.parse`."""
    overwrite: bool = False
    """Whether what is added replaces everything in the store, in one commit at the end."""
    workers: int = 1
    """Processes that read."""
    seconds: float = 600.0
    """The longest time that reading a file, or one block of a large variable, may take."""
    split: str | None = None
    """A dimension, of which each position becomes a dataset."""
    split_by: str | None = None
    """A variable, of which each value becomes a dataset."""
    groups: Groups = "refuse"
    """What becomes of a file with groups."""
    encoding: Encoding = "keep"
    """Whether datasets keep the encodings of their sources."""

    @property
    def splits(self) -> bool:
        """Whether a source becomes many datasets."""
        return self.split is not None or self.split_by is not None

    def __post_init__(self) -> None:
        """Refuse what is no option."""
        object.__setattr__(self, "drop", tuple(check_names("drop", self.drop)))  # an iterator gives its names once
        Every.parse(self.flush_every)
        self._check_chunks()
        check_choice("if_exists", self.if_exists, ("error", "skip", "replace", "update"))
        check_choice("on_error", self.on_error, ("raise", "skip"))
        check_choice("on_unsupported", self.on_unsupported, ("raise", "drop", "raw"))
        for name, flag in (("raw", self.raw), ("resume", self.resume), ("overwrite", self.overwrite)):
            check_flag(name, flag)
        if not isinstance(self.workers, int) or isinstance(self.workers, bool) or self.workers < 1:
            raise InvalidValueError(f"workers is a number of processes from 1 on, not {self.workers!r}")
        check_choice("groups", self.groups, ("refuse", "flatten"))
        check_choice("encoding", self.encoding, ("keep", "drop"))
        for name, text in (("split", self.split), ("split_by", self.split_by)):
            if not isinstance(text, str | None):
                raise InvalidTypeError(f"{name} is a name, a str, not {type(text).__name__} {text!r}")
        if self.split is not None and self.split_by is not None:
            raise InvalidValueError(
                "split names a dimension, and split_by a variable whose values say what goes together; give one of them"
            )
        is_number = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool)
        if not is_number or not self.seconds > 0:
            raise InvalidValueError(f"timeout is a number of seconds above 0, not {self.seconds!r}")

    def _check_chunks(self) -> None:
        if self.chunks is None:
            return
        if not isinstance(self.chunks, Mapping):
            raise InvalidTypeError(f"chunks maps dimensions to lengths, such as {{'time': 24}}, and is {self.chunks!r}")
        for dim, length in self.chunks.items():
            if not isinstance(dim, str):
                raise InvalidTypeError(f"chunks maps names of dimensions to lengths, and has {dim!r} for a name")
            is_length = isinstance(length, int | np.integer) and not isinstance(length, bool | np.timedelta64)
            if not is_length or length < 1:
                raise InvalidValueError(f"chunks has {length!r} for dimension {dim!r}; give it 1 or more cells")
