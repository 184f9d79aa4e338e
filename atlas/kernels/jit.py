"""How kernels are compiled: two decorators, `kernel` and `inner`, and the cache that keeps compiled code fresh.

Kernels hold no GIL, divide as NumPy does and are compiled on first use; threads are the caller's business, so
nothing here is ever `parallel`. Compiled code is kept on disk. Numba's own cache looks only at the file a function
stands in, and would go on running an old copy of a kernel that another file inlines; this one is stamped with a
digest of every kernel source, of the codec libraries' versions and of whether kernels call them, since what is
compiled depends on it. The caching of other people's functions is not touched.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from functools import cached_property, lru_cache, update_wrapper
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from atlas.kernels.symbols import JIT, NATIVE_CODECS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JIT", "ONE", "ZERO", "Int", "inner", "kernel"]

P = ParamSpec("P")
R = TypeVar("R")

Int: TypeAlias = int | np.int64
"""What a kernel takes and returns for a whole number: both are int64 once compiled."""

ZERO: Int = np.int64(0)
ONE: Int = np.int64(1)
"""What kernels pass to kernels instead of a bare 0 or 1, for which Numba would compile the callee once more."""

_settings: Any = config  # its attributes are made at run time

_HERE = Path(__file__).resolve().parent


@lru_cache(maxsize=1)
def _source_stamp() -> str:
    digest = hashlib.sha256(f"native codecs {NATIVE_CODECS}\n".encode())
    for name in ("zstandard", "lz4", "xxhash", "llvmlite"):
        try:
            digest.update(f"{name} {version(name)}\n".encode())
        except PackageNotFoundError:
            digest.update(f"{name} -\n".encode())
    for path in sorted(_HERE.glob("*.py")):
        digest.update(path.name.encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@lru_cache(maxsize=1)
def _cache_folder() -> Path | None:
    """The first writable of: NUMBA_CACHE_DIR, the package's `__pycache__`, the user's cache folder; else None."""
    subpath = "atlas_kernels_" + hashlib.sha256(str(_HERE).encode()).hexdigest()[:24]
    if _settings.CACHE_DIR:
        candidates = [Path(_settings.CACHE_DIR) / subpath]
    else:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
        candidates = [_HERE / "__pycache__", Path(home) / "numba" / subpath]
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


class _KernelLocator:
    """Tells Numba where the compiled code of one kernel lies and how fresh it is (Numba's locator protocol)."""

    def __init__(self, function: Callable[..., object], file: str, folder: Path) -> None:
        self._py_file = file  # read by Numba when it words a warning
        self._function = function
        self._folder = folder

    @classmethod
    def from_function(cls, function: Callable[..., object], file: str) -> _KernelLocator | None:
        folder = _cache_folder()
        return None if folder is None else cls(function, file, folder)

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return _source_stamp()

    def get_disambiguator(self) -> str:
        return str(self._function.__code__.co_firstlineno)


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes: Any = (_KernelLocator,)


class _KernelCacheFile(IndexDataCacheFile):
    """Names each data file by what it holds.

    Numba numbers them, and two processes that compile two signatures at once may then swap their files: the loser
    would load code made for other argument types.
    """

    def save(self, key: object, data: object) -> None:
        overloads: dict[object, str] = self._load_index()  # type: ignore[no-untyped-call]  # Numba has few types
        digest = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()[:24]
        name = self._data_name_pattern.replace("{number:d}", digest)
        self._save_data(name, data)  # type: ignore[no-untyped-call]
        overloads[key] = name
        self._save_index(overloads)  # type: ignore[no-untyped-call]


class _KernelCache(FunctionCache):
    _impl_class = _KernelCacheImpl

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = _KernelCacheFile(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, signature: object, context: Any) -> Any:
        """Load compiled code; None where there is none.

        Numba would load all that it knows of types and functions first, which takes most of the time of a first read.
        Only compiling needs that, and does it by itself; compiled kernels call nothing of Numba's.
        """
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, context)  # type: ignore[no-untyped-call]


# What compiling need not make, which is a quarter of its time: wrappers to pass kernels to one another, and counts of
# references to arrays, without which nothing can be allocated in a kernel.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}

_make: Any = numba.njit


class _NowhereSet:
    """Takes the environment of code that is nowhere in memory."""

    def set_env(self, _name: str, _environment: object) -> None:
        pass


class _LinkedCode(JITCodeLibrary):
    """Code that is only linked into that of others, where it is optimised and made machine code of.

    Numba would do both for each function by itself as well, and again for all that it calls: half of the time that
    kernels take to compile.
    """

    codegen = _NowhereSet()

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._verify_declare_only_symbols()  # type: ignore[no-untyped-call]
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        self._ensure_finalized()  # type: ignore[no-untyped-call]
        return 0


class _InnerCompiler(Compiler):
    """Compiles to `_LinkedCode`."""

    def define_pipelines(self) -> Any:
        state: Any = self.state
        state.library = _LinkedCode(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        return super().define_pipelines()  # type: ignore[no-untyped-call]


class _Inner:
    """Stands for a function that is compiled as part of the kernels that call it."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        update_wrapper(self, function)

    @cached_property
    def _linked(self) -> Any:
        return _make(**_OPTIONS, no_cpython_wrapper=True, pipeline_class=_InnerCompiler)(self._function)

    @property
    def _numba_type_(self) -> Any:
        """What Numba asks for when it meets this in the code of a kernel."""
        return self._linked._numba_type_

    def __call__(self, *_arguments: object) -> object:
        message = f"{self._function.__name__} is called by kernels only"
        raise TypeError(message)


class _Kernel(_Inner):
    """The same, and compiled by itself for Python, where Python calls it."""

    @cached_property
    def compiled(self) -> Any:
        """Numba's dispatcher."""
        compiled = _make(**_OPTIONS)(self._function)
        if _cache_folder() is not None:
            # The dispatcher's cache is the one place where Numba lets a single function have a cache of its own.
            compiled._cache = _KernelCache(self._function)  # noqa: SLF001
        return compiled

    def __call__(self, *arguments: object) -> object:
        return self.compiled(*arguments)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of arrays and numbers to machine code on its first call; type checkers see it unchanged.

    It allocates nothing: the caller hands over what it writes to.
    """
    return _Kernel(function) if JIT else function  # type: ignore[return-value]  # a callable all the same


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that only kernels call: Python gets a TypeError, and compiling takes less."""
    return _Inner(function) if JIT else function  # type: ignore[return-value]  # a callable all the same
