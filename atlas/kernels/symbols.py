"""Finds the C functions of zstd, LZ4 and XXH3 inside the zstandard, lz4 and xxhash wheels, for kernels to call.

Each function is given to LLVM under a name of our own, so that another copy of the library in the process can never
answer in its place. A name that LLVM cannot resolve aborts the process: kernels that call what `external` returns may
only be called where `NATIVE_CODECS` is true. The environment variable ATLAS_CODECS may force "native" or "python".
"""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlas.kernels.compiler import INTERNALS

__all__ = ["NATIVE_CODECS", "call_symbol", "external"]

_PREFIX = "atlas_kernels_"

_ZSTD = (
    "ZSTD_createCCtx",
    "ZSTD_createDCtx",
    "ZSTD_freeCCtx",
    "ZSTD_freeDCtx",
    "ZSTD_compressCCtx",
    "ZSTD_decompressDCtx",
    "ZSTD_findFrameCompressedSize",
    "ZSTD_getFrameContentSize",
)
_LZ4 = ("LZ4_compress_default", "LZ4_decompress_safe")
_XXH3 = ("XXH3_64bits",)

_FASTER = {"XXH3_64bits": "XXH3_64bits_dispatch"}
"""Twins that choose by what the processor can do; only builds for x86 have them."""

# (package folder, pattern of the extension module, functions): the cffi backend exports the whole of zstd.
_HOMES = (("zstandard", "_cffi*", _ZSTD), ("lz4", "block/_block*", _LZ4), ("xxhash", "_xxhash*", _XXH3))

_ADDRESSES: dict[str, int] = {}
_LIBRARIES: list[ctypes.CDLL] = []  # kept so that the loader never unloads what compiled kernels call


def _address(library: ctypes.CDLL, name: str) -> int | None:
    function = getattr(library, _FASTER.get(name, name), None) or getattr(library, name)
    return ctypes.cast(function, ctypes.c_void_p).value


def _bind(package: str, pattern: str, names: tuple[str, ...]) -> bool:
    """Whether every function was found and made known to LLVM."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return False
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob(pattern)):
            if path.suffix not in (".so", ".dylib", ".pyd"):
                continue
            try:
                library = ctypes.CDLL(str(path))
                found = {name: _address(library, name) for name in names}
            except (OSError, AttributeError):
                continue
            _LIBRARIES.append(library)
            for name, address in found.items():
                assert address is not None
                _ADDRESSES[name] = address
            return all(INTERNALS.add_symbol(_PREFIX + name, _ADDRESSES[name]) for name in names)
    return False


def _choose() -> bool:
    wish = os.environ.get("ATLAS_CODECS", "").strip().lower()
    if wish not in ("", "native", "python"):
        message = f"ATLAS_CODECS must be 'native' or 'python', not {wish!r}"
        raise ValueError(message)
    if INTERNALS is None or wish == "python":
        return False
    missing = [package for package, pattern, names in _HOMES if not _bind(package, pattern, names)]
    if missing and wish == "native":
        message = (
            f"ATLAS_CODECS=native, but this build of {' and '.join(missing)} exports no C functions to call. "
            "Install the wheels from PyPI, or unset ATLAS_CODECS to use the slower Python codecs."
        )
        raise ImportError(message)
    return not missing


NATIVE_CODECS: bool = _choose()
"""Whether kernels may call zstd, LZ4 and XXH3 directly; else the same work goes through the packages' Python calls."""


def external(name: str, result: Any, *arguments: Any) -> Any:
    """The C function as something a kernel can call; pointers are passed as integers. None where no kernel may."""
    return INTERNALS.external_function(_PREFIX + name, result, *arguments) if INTERNALS is not None else None


def call_symbol(name: str, *addresses: int) -> int:
    """Call a C function of pointers that returns a pointer, from Python. Needs `NATIVE_CODECS`."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_size_t, *([ctypes.c_size_t] * len(addresses)))
    return int(prototype(_ADDRESSES[name])(*addresses))
