"""What safety costs: our own writes and reads without fsync or checksums, and the speed of the disk.

Each engine does the `cost_` operations in its own process, in turn with ours. Never make one in another process: a
process without checksums writes stores that only it can read.
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

_WRITE_BYTES = 4 * 2**20


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
    """Writes without waiting and without block checksums, and reads without them; metadata keeps its checksums."""

    def __init__(self, work: Workload, folder: Path) -> None:
        _disable_checksums()
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


def _disable_checksums() -> None:
    """Make compiled kernels call a C function that returns a constant instead of the checksum.

    Kernels look up that function by name when they are loaded, so none may be loaded yet. Every checksum that this
    process writes and compares is then the same constant.
    """
    import llvmlite.binding as llvm  # noqa: PLC0415

    from atlas.kernels import symbols  # noqa: PLC0415
    from atlas.kernels.checksum import hash_bytes  # noqa: PLC0415

    if not symbols.NATIVE_CODECS:
        raise Unsupported("only kernels that call C functions can run without checksums")
    constants = [library for library in symbols._LIBRARIES if hasattr(library, "XXH_versionNumber")]  # noqa: SLF001
    if not constants:
        raise Unsupported("this build of xxhash has no function to replace the checksum")
    llvm.add_symbol(
        symbols._PREFIX + "XXH3_64bits",  # noqa: SLF001
        ctypes.cast(constants[0].XXH_versionNumber, ctypes.c_void_p).value,
    )
    if hash_bytes(np.zeros(1000, np.uint8), 0, 1000) != hash_bytes(np.arange(1000).view(np.uint8), 0, 1000):
        raise Unsupported("kernels were loaded before checksums were disabled")


class Disk(Engine):
    """Writes the same bytes as one file and syncs it: the lower bound of a durable write."""

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
            for at in range(0, len(self._bytes), _WRITE_BYTES):
                os.write(descriptor, memoryview(self._bytes)[at : at + _WRITE_BYTES])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def check_cost_write(self) -> Values:
        assert (self.path / "bytes").read_bytes() == self._bytes
        return self._ours.check_cost_write()
