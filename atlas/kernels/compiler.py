"""Which compiler there is (Numba as we know it, plain Numba or none) and where compiled kernels are kept.

A version of Numba whose insides are not as `numba_internals` knows them costs speed, never results: kernels are then
compiled by `numba.njit` as anyone would, a warning says so, and `import atlas` works.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

__all__ = ["HERE", "INTERNALS", "JIT", "cache_folder"]

_settings: Any = numba.config  # its attributes are made at run time

JIT: bool = not _settings.DISABLE_JIT
"""False under NUMBA_DISABLE_JIT, where kernels run as plain Python."""

HERE = Path(__file__).resolve().parent


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The first writable of: NUMBA_CACHE_DIR, the package's `__pycache__`, the user's cache folder; else None."""
    subpath = "atlas_kernels_" + hashlib.sha256(str(HERE).encode()).hexdigest()[:24]
    if _settings.CACHE_DIR:
        candidates = [Path(_settings.CACHE_DIR) / subpath]
    else:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
        candidates = [HERE / "__pycache__", Path(home) / "numba" / subpath]
    for folder in candidates:
        if _is_writable(folder):
            return folder
    tried = ", ".join(str(folder) for folder in candidates)
    warnings.warn(
        f"atlas cannot keep its compiled kernels: no writable folder among {tried}. Every process will compile them "
        "anew, which takes seconds. Set the environment variable NUMBA_CACHE_DIR to a writable folder.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _minor_version() -> tuple[int, ...]:
    """The first two numbers of Numba's version, (0, 0) where it has none."""
    try:
        return tuple(int(part) for part in numba.__version__.split(".")[:2])
    except ValueError:
        return 0, 0


def _load_internals() -> Any:
    """`numba_internals` where it works with this version of Numba, else None and a warning."""
    try:
        internals = import_module("atlas.kernels.numba_internals")
        if not internals.LOWEST <= _minor_version() <= internals.NEWEST:
            internals.check(cache_folder)
    except Exception as error:  # noqa: BLE001  # what else differs in a version to come is not known
        warnings.warn(
            f"atlas does not know the insides of Numba {numba.__version__} ({type(error).__name__}: {error}): kernels "
            "take longer to compile and to load, and blocks are compressed through the slower Python packages. "
            "Results are the same. Install a version of Numba that this version of atlas was released with.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return internals


INTERNALS: Any = _load_internals() if JIT else None
"""The module `numba_internals`, None where it does not work with this version of Numba or nothing is compiled."""
