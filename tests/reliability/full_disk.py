"""A real disk that is full, and a real limit of a file's size: a flush fails, loses nothing, and succeeds with room.

`python -m tests.reliability.full_disk disk FOLDER ROUNDS` fills the file system of FOLDER, a small one, to within some
bytes and flushes; `limit FOLDER ROUNDS` does so under RLIMIT_FSIZE. Both print a JSON object of figures. `run_disk` and
`run_limit` start them in a process of their own, the first on a file system of its own, which goes with it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from atlas import Atlas
from atlas.errors import StorageError
from tests.reliability.twin import Twin, content_of, difference

ROOT = Path(__file__).parents[2]
_CELLS = 60_000


def _grow(store, number: int) -> None:
    """Make a change whose segments take about half a megabyte and do not compress, but for a coordinate."""
    view = store.create_dataset(f"d{number}")
    view.define_array("t", "int64", ["x"], [_CELLS], [_CELLS // 4])
    view.write_array("t", [0], np.random.default_rng(number).integers(-(2**62), 2**62, _CELLS))
    view.define_array("x", "int64", ["x"], [100])
    view.write_array("x", [0], np.arange(100))
    view.set_attribute("k", number)


def _check(what: str, store: Atlas, twin: Twin, place: str, kept) -> None:
    differs = difference(content_of(store), twin.content()) or difference(content_of(Atlas.open(place)), kept)
    if differs:
        raise AssertionError(f"{what}: {differs}")


def _try(store: Atlas, twin: Twin, place: str, number: int, errors: set[int | None]) -> bool:
    """Change something and flush; return whether that failed, with everything as it must be then."""
    twin.do(lambda it: _grow(it, number))
    try:
        _grow(store, number)
        store.flush()
    except StorageError as error:
        if error.errno not in errors:
            raise
        _check(f"after {error}", store, twin, place, twin.flushed)
        return True
    twin.do(Twin.flush)
    _check("after a flush", store, twin, place, twin.flushed)
    return False


def fill_disk(folder: str, rounds: int) -> dict[str, int]:
    """Flush with room for less and less of what is flushed, down to nothing."""
    place, ballast = f"{folder}/s", Path(folder) / "ballast"
    failed = 0
    for number in range(rounds):
        shutil.rmtree(place, ignore_errors=True)
        gc.collect()  # handles keep files open, whose room is not free before
        store, twin = Atlas.create(place), Twin()
        _grow(store, 1000)
        twin.do(lambda it: _grow(it, 1000))
        store.flush()
        twin.do(Twin.flush)
        room = (rounds - 1 - number) * 900_000 // rounds // 4096 * 4096
        with ballast.open("wb", buffering=0) as file:
            # Everything, to the last block, and then a little less.
            block = bytes(1 << 16)
            while block:
                try:
                    file.write(block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block = block[: len(block) // 2]
            file.truncate(max(0, file.tell() - room))
        while _try(store, twin, place, number, {errno.ENOSPC}):
            failed += 1
            for _ in range(2):  # as long as the cause is there, it fails, and nothing is lost by that
                try:
                    store.flush()
                except StorageError:
                    _check("after another try", store, twin, place, twin.flushed)
            ballast.unlink()
            store.flush()
            twin.do(Twin.flush)
            break
        ballast.unlink(missing_ok=True)
        _check("with room", store, twin, place, twin.flushed)
        store.compact()
        _check("once compacted", store, twin, place, twin.flushed)
    return {"flushes onto a nearly full disk": rounds, "of them failed for want of room": failed}


def limit_files(folder: str, rounds: int) -> dict[str, int]:
    """Flush under limits of a file's size from nothing to more than is needed."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    place = f"{folder}/s"
    failed = 0
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for number in range(rounds):
        shutil.rmtree(place, ignore_errors=True)
        gc.collect()  # handles keep files open, whose room is not free before
        store, twin = Atlas.create(place), Twin()
        _grow(store, 1000)
        twin.do(lambda it: _grow(it, 1000))
        store.flush()
        twin.do(Twin.flush)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number * 900_000 // rounds, hard))
        missed = _try(store, twin, place, number, {errno.EFBIG})
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        if missed:
            failed += 1
            store.flush()
            twin.do(Twin.flush)
        _check("without the limit", store, twin, place, twin.flushed)
        store.compact()
        _check("once compacted", store, twin, place, twin.flushed)
    return {"flushes under a limit of size": rounds, "of them failed by it": failed}


# Its own mount namespace, so that the file system goes with the process, however that ends.
_MOUNT_DISK = """set -e
truncate -s 24M "$1/image" && mkfs.ext4 -q "$1/image" && mkdir "$1/disk" && mount -o loop "$1/image" "$1/disk"
shift; exec "$@"
"""
_MOUNT_MEMORY = 'set -e; mkdir "$1/disk"; mount -t tmpfs -o size=24m none "$1/disk"; shift; exec "$@"'


def run_disk(rounds: int) -> dict[str, int] | None:
    """Fill an ext4 file system of 24 MiB, or for want of root one in memory; None where neither can be mounted."""
    ways = [(["unshare", "-m"], _MOUNT_DISK)] if os.geteuid() == 0 else []
    for unshare, mount in [*ways, (["unshare", "-rm"], _MOUNT_MEMORY)]:
        with tempfile.TemporaryDirectory() as folder:
            if not shutil.which(unshare[0]):
                return None
            begin = [*unshare, "sh", "-c", mount, "sh", folder]
            if subprocess.run([*begin, "true"], capture_output=True, check=False, timeout=60).returncode:
                continue
        with tempfile.TemporaryDirectory() as folder:
            begin = [*unshare, "sh", "-c", mount, "sh", folder]
            return _run([*begin, *_module("disk", f"{folder}/disk", rounds)])
    return None


def run_limit(rounds: int) -> dict[str, int]:
    """Flush under limits of size."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(_module("limit", folder, rounds))


def _module(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.reliability.full_disk", *map(str, arguments)]


def _run(command: list[str]) -> dict[str, int]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)
    if done.returncode:
        raise AssertionError(done.stderr[-4000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    run = {"disk": fill_disk, "limit": limit_files}[sys.argv[1]]
    print(json.dumps(run(sys.argv[2], int(sys.argv[3]))))
