"""One engine in a process of its own: an operation a line on standard input, an answer a line on standard output."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.engines import ENGINES, bytes_on_disk
from benchmarks.workloads import WORKLOADS

__all__ = ["main"]


def main() -> None:
    """Serve operations until standard input ends."""
    engine_name, workload_name, fraction = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as folder:
        engine = ENGINES[engine_name](WORKLOADS[workload_name].scaled(float(fraction)), Path(folder))
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            operation = line.strip()
            started = time.perf_counter()
            values = getattr(engine, operation)()
            seconds = time.perf_counter() - started
            digest = hashlib.sha256()
            for array in values or []:
                digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answer = {"seconds": seconds, "digest": digest.hexdigest(), "peak_kib": peak}
            print(json.dumps(answer | {"bytes": bytes_on_disk(Path(folder))}), flush=True)


if __name__ == "__main__":
    main()
