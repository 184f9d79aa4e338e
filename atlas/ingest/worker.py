"""The process that reads files, `python -m atlas.ingest.worker FD`: pickled requests on stdin, pickled answers to FD.

A request is the name of a call, and its arguments once or several times; each time has an answer, see `answers`.

Ends with its parent, whose end of stdin closes, also while a read hangs. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.ingest.answers import ANSWER_HEAD, ENOUGH_BYTES
from atlas.ingest.reading import read_block, read_file
from atlas.runtime.threads import run_behind
from atlas.storage.urls import fetch_url, stat_url

__all__ = ["main"]

if TYPE_CHECKING:
    from collections.abc import Callable

    Request = tuple[str, list[tuple[Any, ...]]]

_CALLS: dict[str, Callable[..., Any]] = {
    "begin": lambda: None,
    "file": read_file,
    "block": read_block,
    "stat": stat_url,
    "fetch": fetch_url,
}


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(int(sys.argv[1]), "wb")
    os.dup2(2, 1)
    with suppress(ModuleNotFoundError):  # only NetCDF needs it
        importlib.import_module("netCDF4")  # else the first file takes the time
    requests: SimpleQueue[Request] = SimpleQueue()
    run_behind(partial(_take_requests, requests))
    while True:
        call, each = requests.get()
        sent = 0
        for arguments in each:
            data = pickle.dumps(_answer(call, arguments) if sent < ENOUGH_BYTES else None, protocol=5)
            sent += len(data)
            try:
                answers.write(ANSWER_HEAD.pack(len(data)))
                answers.write(data)
                answers.flush()
            except BrokenPipeError:  # the parent has ended
                os._exit(0)


def _answer(call: str, arguments: tuple[Any, ...]) -> tuple[str | None, Any]:
    """Return why a call failed, or what it returned."""
    try:
        return None, _CALLS[call](*arguments)
    except MemoryError:
        return "it does not fit in memory", None
    except Exception as error:  # noqa: BLE001 - damaged files raise errors of any type
        text = " ".join(str(error).split()) or type(error).__name__
        is_said = isinstance(error, AtlasError | OSError | ValueError)
        return text if is_said else f"{type(error).__name__}: {text}", None


def _take_requests(requests: SimpleQueue[Request]) -> None:
    """Pass on what the parent sends, and end the process where it has ended."""
    try:
        with os.fdopen(0, "rb") as sent:
            while True:
                requests.put(pickle.load(sent))  # noqa: S301 - from the parent
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
