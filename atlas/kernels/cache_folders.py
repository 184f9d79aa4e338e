"""Where compiled kernels are kept: the folders to load them from, the one to save to, and what is said where none is.

Finds folders only. `numba_internals`, or Numba itself, reads and writes their files.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HERE", "all_kept", "cache_folders", "folders_to_load_from", "warn_unkept", "writable_folder"]

HERE = Path(__file__).resolve().parent

_settings: Any = numba.config  # its attributes are made at run time
_logger = logging.getLogger(__name__)
_unkept: list[str] = []


@cache
def cache_folders() -> tuple[Path, ...]:
    """NUMBA_CACHE_DIR alone where it is set, else the package's `__pycache__`, then the user's cache folder, if any."""
    subpath = "atlas_kernels_" + hashlib.sha256(str(HERE).encode()).hexdigest()[:24]
    if _settings.CACHE_DIR:
        return (Path(_settings.CACHE_DIR) / subpath,)
    # Without HOME, a user who is in no user database has no home folder: `~` stays as it is.
    users = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111
    return HERE / "__pycache__", *([users / "numba" / subpath] if users.is_absolute() else [])


@cache
def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def folders_to_load_from() -> Iterator[Path]:
    """All up to the first that is writable. Nothing is saved behind that one.

    Code is loaded as a pickle. An administrator, who may write to the first, thus never loads what a user wrote.
    """
    for folder in cache_folders():
        yield folder
        if _is_writable(folder):
            return


def writable_folder() -> Path | None:
    """The first folder that is writable; None where there is none."""
    return next(filter(_is_writable, cache_folders()), None)


def warn_unkept(error: OSError | None = None) -> None:
    """Log, once in a process, that no folder is writable, or that saving to it failed with `error`."""
    if _unkept:
        return
    tried = ", ".join(map(str, cache_folders()))
    reason = f"no writable folder among {tried}" if error is None else f"saving to {writable_folder()} failed ({error})"
    _unkept.append(
        f"atlas cannot keep its compiled kernels: {reason}. Every process will compile them anew, which takes seconds. "
        "Set the environment variable NUMBA_CACHE_DIR to a writable folder, or run `atlas warmup` once as a user who "
        "may write to one of them."
    )
    _logger.warning("%s", _unkept[0])


def all_kept() -> bool:
    """Whether `warn_unkept` has had nothing to say in this process."""
    return not _unkept
