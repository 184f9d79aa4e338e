"""Judges mutants in forked children, and tells what became of each: `python -m tests.reliability.hostile.zygote`.

The zygote compiles and warms up once and has no threads; its children do the work under limits of memory and time. A
child that is killed, by a signal, a limit or the clock, is the fault of the mutant it was at.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import mmap
import os
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.reliability.hostile.judging import expected, judge_many, make_mutant
from tests.reliability.hostile.stores import STORES

__all__ = ["main"]

MEMORY = 768 << 20
"""Bytes that a child may map beyond what it begins with."""
SECONDS = 20.0
"""Time that a mutant may take."""
_BATCH = 400
_AT = struct.Struct("<qd")


def _child(seed: int, first: int, stop: int, at: mmap.mmap, out: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def begin(number: int) -> None:
        at[:] = _AT.pack(number, time.monotonic())

    def end(number: int, kind: str, outcome: str, told: str) -> None:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(out, json.dumps([number, kind, outcome, told[-6000:], most]).encode() + b"\n")

    judge_many(seed, iter(range(first, stop)), begin, end)


def _watch(pid: int, incoming: int, at: mmap.mmap) -> tuple[str, str]:
    """Pass on what a child tells until it ends; return why it died, if it did, and what it last said."""
    rest, killed = b"", ""
    while True:
        ready, _, _ = select.select([incoming], [], [], 0.5)
        if ready:
            data = os.read(incoming, 1 << 16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                sys.stdout.write(line.decode() + "\n")
            sys.stdout.flush()
        number, began = _AT.unpack(at[:])
        if number >= 0 and time.monotonic() - began > SECONDS and not killed:
            killed = f"took more than {SECONDS:.0f} seconds"
            os.kill(pid, signal.SIGABRT)  # so that it says where it was
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if killed:
        return killed, ""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}", ""
    return (f"ended with {os.WEXITSTATUS(status)}" if status else ""), ""


def _run(seed: int, numbers: range) -> None:
    at = mmap.mmap(-1, _AT.size)
    first = numbers.start
    while first < numbers.stop:
        stop = min(first + _BATCH, numbers.stop)
        at[:] = _AT.pack(-1, 0.0)
        incoming, out = os.pipe()
        with tempfile.TemporaryFile() as said:
            pid = os.fork()
            if pid == 0:
                os.close(incoming)
                faulthandler.enable(said)
                status = 1
                try:
                    _child(seed, first, stop, at, out)
                    status = 0
                except BaseException:  # noqa: BLE001 - the end of this process, whatever it is
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            os.close(out)
            died, _ = _watch(pid, incoming, at)
            os.close(incoming)
            said.seek(0)
            told = said.read().decode("utf-8", "replace")
        number = _AT.unpack(at[:])[0]
        if died:
            print(json.dumps([number, "?", "crashed", f"{died}\n{told[:4000]}", 0]), flush=True)
            first = max(number, first) + 1
        else:
            first = stop


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.hostile.zygote", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("stop", type=int)
    parser.add_argument("--here", action="store_true", help="judge in this process, for a debugger")
    arguments = parser.parse_args()
    os.environ["ATLAS_NUM_THREADS"] = "1"
    numbers = range(arguments.first, arguments.stop)
    if arguments.here:
        for number in numbers:
            print(number, make_mutant(arguments.seed, number)[1].note)
        judge_many(arguments.seed, iter(numbers), lambda number: None, print)
        return
    for name in STORES:
        expected(name)
    _run(arguments.seed, numbers)


if __name__ == "__main__":
    main()
