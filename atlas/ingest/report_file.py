"""The report of `Atlas.add_many` in a file, as JSON: written once the call ends, however it does."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from atlas.errors import InvalidTypeError, InvalidValueError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas.ingest.report import IngestReport

__all__ = ["check_report_file", "written_to"]


def check_report_file(path: object) -> Path | None:
    """Return the path of a file that a report can be written to, None for none.

    Raises `InvalidTypeError` for what is no path, and `InvalidValueError` for a folder, or a file in none.
    """
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise InvalidTypeError(f"report is the path of a file to write, not {type(path).__name__} {path!r}")
    file = Path(path).expanduser()
    if file.is_dir() or not file.parent.is_dir():
        what = "a folder" if file.is_dir() else f"in the folder {str(file.parent)!r}, which does not exist"
        raise InvalidValueError(f"report is the path of a file to write, and {str(path)!r} is {what}")
    return file


@contextmanager
def written_to(file: Path | None, report: IngestReport) -> Iterator[None]:
    """Write a report once what runs within has ended.

    Raises `StorageError` where it cannot be written; an error of what ran within gets a note of that instead.
    """
    try:
        yield
    except BaseException as error:
        try:
            _write(file, report)
        except StorageError as unwritten:
            error.add_note(str(unwritten))
        raise
    _write(file, report)


def _write(file: Path | None, report: IngestReport) -> None:
    if file is None:
        return
    try:
        file.write_bytes(orjson.dumps(report.to_dict(), option=orjson.OPT_INDENT_2))
    except OSError as error:  # such as the full disk that ended the run
        raise StorageError(error.errno, f"the report cannot be written: {error.strerror}", str(file)) from error
