"""Everything that depends on the insides of Numba and llvmlite, which may differ in each of their versions.

Was run with Numba `LOWEST` to `NEWEST`. Importing it raises ImportError or AttributeError where an inside that it uses
is gone; `check` finds out whether the rest works. `compiler` does both, and does without this module where they fail.
"""

from __future__ import annotations

import ctypes
import hashlib
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOWEST", "NEWEST", "InnerKernel", "Kernel", "add_symbol", "check", "external_function"]

LOWEST, NEWEST = (0, 60), (0, 68)
"""The first and the last minor version of Numba with which all of this was run."""

_USED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (FunctionCache, ("_load_overload", "_guard_against_spurious_io_errors")),
    (IndexDataCacheFile, ("_load_index", "_save_index", "_save_data")),
    (JITCodeLibrary, ("_finalize_dynamic_globals", "_verify_declare_only_symbols", "_ensure_finalized")),
    (JITCodeLibrary, ("_optimize_final_module", "_finalize_final_module", "get_pointer_to_function")),
    (Compiler, ("define_pipelines",)),
    (types, ("ExternalFunction",)),
    (llvm, ("add_symbol", "address_of_symbol")),
)
for _owner, _names in _USED:
    for _name in _names:
        getattr(_owner, _name)  # an AttributeError here is one that no kernel will raise later

# What compiling need not make, which is a quarter of its time: wrappers to pass kernels to one another, and counts of
# references to arrays, without which nothing can be allocated in a kernel.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}

_njit: Any = numba.njit


class _KernelLocator:
    """Tells Numba where the compiled code of one kernel lies and how fresh it is (Numba's locator protocol)."""

    def __init__(self, function: Callable[..., object], file: str, folder: Path, stamp: str) -> None:
        self._py_file = file  # read by Numba when it words a warning
        self._function = function
        self._folder = folder
        self._stamp = stamp

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return str(self._function.__code__.co_firstlineno)


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
    """Numba's cache on disk, in a folder and with a stamp of our own."""

    def __init__(self, function: Callable[..., object], folder: Path, stamp: str) -> None:
        class Locator(_KernelLocator):
            @classmethod
            def from_function(cls, function: Callable[..., object], file: str) -> _KernelLocator:
                return cls(function, file, folder, stamp)

        class Impl(CompileResultCacheImpl):
            _locator_classes: Any = (Locator,)

        self._impl_class = Impl
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = _KernelCacheFile(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=stamp
        )

    def load_overload(self, signature: object, context: Any) -> Any:
        """Load compiled code; None where there is none.

        Numba would load all that it knows of types and functions first, which takes most of the time of a first read.
        Only compiling needs that, and does it by itself; compiled kernels call nothing of Numba's.
        """
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, context)  # type: ignore[no-untyped-call]


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
        """Return nowhere."""
        self._ensure_finalized()  # type: ignore[no-untyped-call]
        return 0


class _InnerCompiler(Compiler):
    """Compiles to `_LinkedCode`."""

    def define_pipelines(self) -> Any:
        """Make the pipelines, for a library of ours."""
        state: Any = self.state
        state.library = _LinkedCode(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        return super().define_pipelines()  # type: ignore[no-untyped-call]


class InnerKernel:
    """Stands for a function that is compiled as part of the kernels that call it."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        update_wrapper(self, function)

    @cached_property
    def _linked(self) -> Any:
        return _njit(**_OPTIONS, no_cpython_wrapper=True, pipeline_class=_InnerCompiler)(self._function)

    @property
    def _numba_type_(self) -> Any:
        """What Numba asks for when it meets this in the code of a kernel."""
        return self._linked._numba_type_

    def __call__(self, *_arguments: object) -> object:
        """Refuse to be called from Python."""
        message = f"{self._function.__name__} is called by kernels only"
        raise TypeError(message)


class Kernel(InnerKernel):
    """The same, and compiled by itself for Python, where Python calls it.

    Compiled code is kept in the folder that `folder` returns, unless that is None, with the stamp of `stamp`.
    """

    def __init__(
        self, function: Callable[..., object], folder: Callable[[], Path | None], stamp: Callable[[], str]
    ) -> None:
        super().__init__(function)
        self._folder = folder
        self._stamp = stamp

    @cached_property
    def compiled(self) -> Any:
        """Numba's dispatcher."""
        compiled = _njit(**_OPTIONS)(self._function)
        folder = self._folder()
        if folder is not None:
            # The dispatcher's cache is the one place where Numba lets a single function have a cache of its own.
            compiled._cache = _KernelCache(self._function, folder, self._stamp())  # noqa: SLF001
        return compiled

    def __call__(self, *arguments: object) -> object:
        """Call the compiled code, which is loaded or made the first time."""
        return self.compiled(*arguments)


def add_symbol(name: str, address: int) -> bool:
    """Give LLVM the address of a C function under a name; whether it resolves."""
    llvm.add_symbol(name, address)
    return bool(llvm.address_of_symbol(name) == address)


def external_function(name: str, result: Any, *arguments: Any) -> Any:
    """A C function that LLVM was given as something a kernel can call."""
    return types.ExternalFunction(name, result(*arguments))


_PROBE = "atlas_kernels_probe"


def check(folder: Callable[[], Path | None]) -> None:
    """Compile a small kernel that uses all of the above, or load it, and compare what it returns.

    Raises:
        Exception: of any kind, where something of it does not work.

    """
    address = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value
    if address is None or not add_symbol(_PROBE, address):
        message = "LLVM does not resolve a symbol that it was given"
        raise RuntimeError(message)
    is_initialized = external_function(_PROBE, types.int32)
    twice = InnerKernel(lambda number: 2 * number)
    stamp = f"{numba.__version__} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"
    probe = Kernel(lambda number: twice(number) + is_initialized(), folder, lambda: stamp)
    if probe(20) != 41:
        message = "a kernel returns another number than it should"
        raise RuntimeError(message)
