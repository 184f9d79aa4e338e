"""Everything that depends on the insides of Numba and llvmlite, which may differ in each of their versions.

Was run with Numba `LOWEST` to `NEWEST`. Importing it raises ImportError or AttributeError where an inside that it uses
is gone; `check` finds out whether the rest works. `compiler` does both, and does without this module where they fail.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import sys
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core.caching import IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.compiler_lock import global_compiler_lock

from atlas.kernels.cache_folders import folders_to_load_from, warn_unkept, writable_folder
from atlas.runtime.forks import hold_over_forks
from atlas.runtime.notices import Notice

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOWEST", "NEWEST", "InnerKernel", "Kernel", "add_symbol", "check", "external_function"]

LOWEST, NEWEST = (0, 60), (0, 68)
"""The first and the last minor version of Numba with which all of this was run."""

_USED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (IndexDataCacheFile, ("load", "_load_index", "_save_index", "_save_data")),
    (CompileResult, ("_reduce", "_rebuild")),
    (JITCodeLibrary, ("_finalize_dynamic_globals", "_verify_declare_only_symbols", "_ensure_finalized")),
    (JITCodeLibrary, ("_optimize_final_module", "_finalize_final_module", "get_pointer_to_function")),
    (Compiler, ("define_pipelines",)),
    (types, ("ExternalFunction",)),
    (llvm, ("add_symbol", "address_of_symbol")),
)
for _owner, _names in _USED:
    for _name in _names:
        getattr(_owner, _name)  # an AttributeError here is one that no kernel will raise later

# Otherwise a child that was forked while another thread compiled or loaded a kernel would wait for it for ever.
hold_over_forks(global_compiler_lock)

# What compiling need not make, which is a quarter of its time: wrappers to pass kernels to one another, and counts of
# references to arrays, without which nothing can be allocated in a kernel.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}

_COMPILING = Notice("atlas: compiling kernels for this processor; it takes some seconds, and later processes load them")

_njit: Any = numba.njit
_logger = logging.getLogger(__name__)


class _KernelCacheFile(IndexDataCacheFile):
    """Names each data file by what it holds.

    Numba numbers them, and two processes that compile two signatures at once may then swap their files: the loser
    would load code made for other argument types.
    """

    def save(self, key: object, data: object) -> None:
        try:
            overloads: dict[object, str] = self._load_index()  # type: ignore[no-untyped-call]  # Numba has few types
        except Exception:  # noqa: BLE001  # damaged, as a power cut may leave it
            overloads = {}
        digest = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()[:24]
        name = self._data_name_pattern.replace("{number:d}", digest)
        self._save_data(name, data)  # type: ignore[no-untyped-call]
        overloads[key] = name
        self._save_index(overloads)  # type: ignore[no-untyped-call]


class _KernelCache:
    """Stands for Numba's cache of a function, with folders and a stamp of our own. Its failures reach no caller."""

    def __init__(self, function: Callable[..., object], stamp: str) -> None:
        code = function.__code__
        self._code = hashlib.sha256(code.co_code).hexdigest()
        version = f"{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
        module = Path(code.co_filename).stem
        name = f"{module}.{function.__qualname__}-{code.co_firstlineno}.py{version}"
        self._name = name.replace("<", "").replace(">", "")
        self._stamp = stamp
        self._used: Path | None = None

    @property
    def cache_path(self) -> Path | None:
        """The folder that code was loaded from or saved to."""
        return self._used

    def _key(self, signature: object, codegen: Any) -> object:
        return signature, codegen.magic_tuple(), self._code  # the tuple names the processor

    def _file(self, folder: Path) -> _KernelCacheFile:
        return _KernelCacheFile(str(folder), self._name, self._stamp)  # type: ignore[no-untyped-call]

    def load_overload(self, signature: object, context: Any) -> Any:
        """Load compiled code; None where there is none, which is then compiled.

        Numba would load all that it knows of types and functions first, which takes most of the time of a first read.
        Only compiling needs that, and does it by itself; compiled kernels call nothing of Numba's.
        """
        key = self._key(signature, context.codegen())
        for folder in folders_to_load_from():
            try:
                data = self._file(folder).load(key)  # type: ignore[no-untyped-call]
                if data is not None:
                    found = CompileResult._rebuild(context, *data)  # type: ignore[no-untyped-call]  # noqa: SLF001
                    self._used = folder
                    return found
            except Exception as error:  # noqa: BLE001  # not ours to read, or damaged: unpickling raises what it likes
                _logger.debug("cannot load %s from %s: %r", self._name, folder, error)
        _COMPILING.show()
        return None

    def save_overload(self, signature: object, result: Any) -> None:
        """Save compiled code, or log that it cannot be saved."""
        assert not result.library.has_dynamic_globals, "a kernel holds an address of this process"
        folder = writable_folder()
        if folder is None:
            warn_unkept()
            return
        key = self._key(signature, result.codegen)
        try:
            self._file(folder).save(key, result._reduce())  # noqa: SLF001
        except OSError as error:
            warn_unkept(error)
        else:
            self._used = folder


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

    Compiled code is kept on disk with the stamp of `stamp`.
    """

    def __init__(self, function: Callable[..., object], stamp: Callable[[], str]) -> None:
        super().__init__(function)
        self._stamp = stamp

    @cached_property
    def compiled(self) -> Any:
        """Numba's dispatcher."""
        compiled = _njit(**_OPTIONS)(self._function)
        # The dispatcher's cache is the one place where Numba lets a single function have a cache of its own.
        compiled._cache = _KernelCache(self._function, self._stamp())  # noqa: SLF001
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


def check() -> None:
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

    def function(number: int) -> int:
        return twice(number) + is_initialized()  # type: ignore[no-any-return]

    probe, again = Kernel(function, lambda: stamp), Kernel(function, lambda: stamp)
    if probe(20) != 41 or again(20) != 41:
        message = "a kernel returns another number than it should"
        raise RuntimeError(message)
    if probe.compiled.stats.cache_path is not None and not again.compiled.stats.cache_hits:
        message = "a kernel that was kept is not loaded"
        raise RuntimeError(message)
