"""What it costs to be safe: our own writes and reads with less of it, and the disk by itself.

Each does the `cost_` operations in a process of its own, in turn with ours, and must be made in no other: without
checksums a process writes stores that only it can read.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines.base import Engine, Unsupported, Values
from benchmarks.engines.store import Ours

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

__all__ = ["Disk", "Unchecked", "Unsynced"]

_PIECE = 4 * 2**20


class Unsynced(Engine):
    """Writes that do not wait for the disk."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._ours = Ours(work, folder)
        self._ours.options = {"durable": False}

    def prepare_cost_write(self) -> None:
        self._ours.prepare_cost_write()

    def cost_write(self) -> None:
        self._ours.cost_write()

    def check_cost_write(self) -> Values:
        return self._ours.check_cost_write()


class Unchecked(Unsynced):
    """The same, and blocks have no checksums, in reads either; metadata have, a hundredth of the bytes."""

    def __init__(self, work: Workload, folder: Path) -> None:
        _leave_out_checksums()
        super().__init__(work, folder)

    def prepare_cost_slice(self) -> None:
        if not self.path.exists():
            self.prepare_cost_write()
            self.cost_write()

    prepare_cost_read = prepare_cost_slice

    def cost_slice(self) -> Values:
        return self._ours.cost_slice()

    def cost_read(self) -> Values:
        return self._ours.cost_read()


def _leave_out_checksums() -> None:
    """Have compiled kernels call, for the checksum of a block, a C function that returns a constant at once.

    Kernels are the same machine code as ever, bound to a function by its name when they are loaded: so that must not
    have happened yet. Every checksum that is written and compared in this process is then the constant.
    """
    import llvmlite.binding as llvm  # noqa: PLC0415

    from atlas.kernels import symbols  # noqa: PLC0415
    from atlas.kernels.checksum import hash_bytes  # noqa: PLC0415

    if not symbols.NATIVE_CODECS:
        raise Unsupported("checksums are left out of kernels that call C functions alone")
    constants = [library for library in symbols._LIBRARIES if hasattr(library, "XXH_versionNumber")]  # noqa: SLF001
    if not constants:
        raise Unsupported("this build of xxhash has no function that could stand in for the checksum")
    llvm.add_symbol(
        symbols._PREFIX + "XXH3_64bits",  # noqa: SLF001
        ctypes.cast(constants[0].XXH_versionNumber, ctypes.c_void_p).value,
    )
    if hash_bytes(np.zeros(1000, np.uint8), 0, 1000) != hash_bytes(np.arange(1000).view(np.uint8), 0, 1000):
        raise Unsupported("kernels were loaded before their checksums could be left out")


class Disk(Engine):
    """The bytes that our write stores, written as one file and waited for: no write that lasts can be faster."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._ours = Ours(work, folder / "ours")
        self._bytes = b""

    def prepare_cost_write(self) -> None:
        if not self._bytes:
            self._ours.prepare_cost_write()
            self._ours.cost_write()
            self._bytes = b"".join(path.read_bytes() for path in self._ours.path.rglob("*") if path.is_file())
        self.clear()

    def cost_write(self) -> None:
        descriptor = os.open(self.path / "bytes", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            for at in range(0, len(self._bytes), _PIECE):
                os.write(descriptor, memoryview(self._bytes)[at : at + _PIECE])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def check_cost_write(self) -> Values:
        assert (self.path / "bytes").read_bytes() == self._bytes
        return self._ours.check_cost_write()
