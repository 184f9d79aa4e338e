"""The process that reads files, `python -m atlas.ingest.worker`: pickled requests on stdin, pickled answers on stdout.

Ends with its parent, whose end of stdin closes. Nothing but answers reaches the pipe: what libraries print goes to
stderr.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.ingest.reading import read_block, read_file

__all__ = ["main"]

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS: dict[str, Callable[..., Any]] = {"file": read_file, "block": read_block}


def main() -> None:
    """Say that it is ready, and answer requests until there are no more."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answer: object = (None, "ready")
    while True:
        pickle.dump(answer, answers, protocol=5)
        answers.flush()
        try:
            call, arguments = pickle.load(requests)  # noqa: S301 - from the parent
        except EOFError:
            return
        try:
            answer = (None, _CALLS[call](*arguments))
        except MemoryError:
            answer = ("it does not fit in memory", None)
        except Exception as error:  # noqa: BLE001 - damaged files raise errors of any type
            text = " ".join(str(error).split()) or type(error).__name__
            is_said = isinstance(error, AtlasError | OSError | ValueError)
            answer = (text if is_said else f"{type(error).__name__}: {text}", None)


if __name__ == "__main__":
    main()
    sys.exit()
