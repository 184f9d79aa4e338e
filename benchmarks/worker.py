"""One engine in its own process: reads one operation per line from stdin, writes one JSON answer per line to stdout.

An answer holds the seconds, a digest of the values, the peak memory above what the process held before, and after a
write the bytes on disk; or an error.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.engines import Unsupported, make
from benchmarks.engines.base import Collection, Engine, digest
from benchmarks.operations import OPERATIONS
from benchmarks.workloads import Workload, located

__all__ = ["begin_peak", "bytes_on_disk", "main", "peak_since"]


def _status(field: str) -> int | None:
    """A field of the status of this process, in KiB; None where the system has no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(field + ":")), None)


def begin_peak() -> int | None:
    """Reset the peak memory and return the memory held now, in KiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def peak_since(held: int | None) -> int:
    """Peak memory since `begin_peak`, in KiB above what it returned."""
    largest = _status("VmHWM")
    if held is None or largest is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(0, largest - held)


def bytes_on_disk(folder: Path) -> int:
    """Bytes of all files below the folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(engine: Engine, operation: str) -> dict[str, Any]:
    getattr(engine, f"prepare_{operation}", lambda: None)()
    gc.collect()
    held = begin_peak()
    started = time.perf_counter()
    values = getattr(engine, operation)()
    seconds = time.perf_counter() - started
    peak = peak_since(held)
    kib = 0 if values is None else sum(array.nbytes for array in values) / 2**10
    if values is None:
        values = getattr(engine, f"check_{operation}", list)()
    answer = {"seconds": seconds, "peak_kib": peak, "result_kib": kib, "digest": digest(values)}
    if operation in {"write", "write_each"}:
        answer["bytes"] = bytes_on_disk(engine.path)
    return answer


def _answer(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def _serve(engine_name: str, work: Workload) -> None:
    with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as folder:
        try:
            engine = make(engine_name, work, Path(folder))
        except (Unsupported, ImportError) as error:
            _answer({"unsupported": str(error)})
            return
        operations = [operation for operation in OPERATIONS if hasattr(engine, operation)]
        _answer({"operations": operations, "versions": engine.versions})
        for line in sys.stdin:
            try:
                _answer(_run(engine, line.strip()))
            except Unsupported as error:
                _answer({"error": str(error)})
            except Exception as error:  # noqa: BLE001 - the other engines continue
                traceback.print_exc()
                _answer({"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Serve operations until standard input ends; with `--first`, do one read and print the digest of its values."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exits normally, so the temporary folder is removed
    if sys.argv[1] == "--first":
        what = json.loads(sys.argv[2])
        engine = make(what["engine"], Workload.from_json(what["work"]), Path(what["folder"]))
        assert isinstance(engine, Collection)
        print(digest(engine.open_slice()))
        return
    name, workload, fraction, samples = sys.argv[1:5]
    _serve(name, located(workload, float(fraction), samples))


if __name__ == "__main__":
    main()
