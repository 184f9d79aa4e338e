"""The compilation policy: two decorators, `kernel` and `inner`.

Kernels hold no GIL, divide as NumPy does and are compiled on first use; threads are the caller's business, so
nothing here is ever `parallel`. Compiled code is kept on disk, stamped with a digest of all kernel sources, of the
codec libraries' versions and of whether kernels call them: the machine code of a kernel depends on those that it
calls. How other functions are cached is not touched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numba
import numpy as np

from atlas.kernels.cache_folders import HERE, all_kept, warn_unkept, writable_folder
from atlas.kernels.compiler import INTERNALS, JIT
from atlas.kernels.symbols import NATIVE_CODECS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ONE", "ZERO", "Int", "KernelCounts", "count_kernels", "inner", "kernel"]

P = ParamSpec("P")
R = TypeVar("R")

Int: TypeAlias = int | np.int64
"""What a kernel takes and returns for a whole number: both are int64 once compiled."""

ZERO: Int = np.int64(0)
ONE: Int = np.int64(1)
"""What kernels pass to kernels instead of a bare 0 or 1, for which Numba would compile the callee once more."""


@lru_cache(maxsize=1)
def source_stamp() -> str:
    """A digest of all that compiled kernels depend on."""
    digest = hashlib.sha256(f"native codecs {NATIVE_CODECS}\n".encode())
    for name in ("zstandard", "lz4", "xxhash", "llvmlite"):
        try:
            digest.update(f"{name} {version(name)}\n".encode())
        except PackageNotFoundError:
            digest.update(f"{name} -\n".encode())
    for path in sorted(HERE.glob("*.py")):
        digest.update(path.name.encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()


_KERNELS: list[Any] = []
"""All of them, but under NUMBA_DISABLE_JIT."""


@dataclass(frozen=True, slots=True)
class KernelCounts:
    """What became of the kernels that this process called; each counts once for each tuple of argument types."""

    compiled: int
    """How many were compiled."""
    loaded: int
    """How many were loaded."""
    folders: tuple[str, ...]
    """Where those loaded lie, and those compiled that could be kept."""
    all_kept: bool
    """Whether all that were compiled could be kept; the log says why not."""


def count_kernels() -> KernelCounts:
    """Count what was compiled and loaded since this process began."""
    stats = [(kernel.compiled if INTERNALS is not None else kernel).stats for kernel in _KERNELS]
    used = [each for each in stats if each.cache_misses or each.cache_hits]
    return KernelCounts(
        sum(each.cache_misses.total() for each in used),
        sum(each.cache_hits.total() for each in used),
        tuple(sorted({str(each.cache_path) for each in used if each.cache_path is not None})),
        all_kept(),
    )


def _compile_plainly(function: Callable[..., object]) -> Any:
    """Compile with nothing but Numba's documented options.

    Numba's cache looks only at the file a function stands in, and names its own by the function: that gets the stamp.
    """
    function.__qualname__ += f"_{source_stamp()[:24]}"
    kept = writable_folder() is not None  # Numba loads from no other
    if not kept:
        warn_unkept()
    decorate: Any = numba.njit(nogil=True, error_model="numpy", cache=kept)
    return decorate(function)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of arrays and numbers to machine code on its first call; type checkers see it unchanged.

    It allocates nothing: the caller hands over what it writes to.
    """
    compiled: Any = function
    if INTERNALS is not None:
        compiled = INTERNALS.Kernel(function, source_stamp)
        _KERNELS.append(compiled)
    elif JIT:
        compiled = _compile_plainly(function)
        _KERNELS.append(compiled)
    else:
        # As in compiled code, integers wrap, and signalling NaNs become quiet ones without a word.
        compiled = np.errstate(over="ignore", invalid="ignore")(function)
    return compiled  # type: ignore[no-any-return]  # a callable all the same


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that only kernels call: Python gets a TypeError, and compiling takes less."""
    compiled: Any = function
    if INTERNALS is not None:
        compiled = INTERNALS.InnerKernel(function)
    elif JIT:
        compiled = _compile_plainly(function)
    return compiled  # type: ignore[no-any-return]  # a callable all the same
