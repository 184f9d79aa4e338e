"""Imported by the server alone that forks lives: everything is imported, compiled and used once, without a thread."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from multiprocessing import reduction
from pathlib import Path
from typing import Any
from unittest import mock

import xarray as xr
from tqdm import tqdm

from atlas import Atlas
from atlas.ingest import adding, worker  # noqa: F401 - what lives import
from atlas.storage import MemoryStorage
from tests.reliability import ingest_lives  # noqa: F401 - the same
from tests.reliability.enumeration import memory_folder
from tests.reliability.ingest_files import make_good_files

_receive = reduction.recvfds


def _receive_or_go_on(*arguments: Any) -> list[int]:
    """Receive a request; one whose sender was killed before it had sent all would end the server."""
    try:
        return _receive(*arguments)
    except (EOFError, RuntimeError) as error:
        raise ConnectionAbortedError(errno.ECONNABORTED, "killed as it asked for a process") from error


reduction.recvfds = _receive_or_go_on

with (
    mock.patch.dict(os.environ, {"ATLAS_NUM_THREADS": "1"}),
    tempfile.TemporaryDirectory(prefix="server-", dir=memory_folder()) as folder,
):
    storage = MemoryStorage()  # that of files begins threads
    store = Atlas.create(storage)
    paths = make_good_files(Path(folder))
    for number in range(20):  # so many that flushes join segments
        for path in paths:
            with xr.open_dataset(path, decode_timedelta=False) as ds:
                store.add_xr_dataset(ds, f"{path.name}{number}")
        store.flush()
    assert len(Atlas.open(storage).list_datasets()) == 20 * len(paths)
tqdm.set_lock(threading.RLock())  # its own is shared by all processes: one that is killed would keep it
assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not be forked"
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # lives have logs; a life that is killed as it begins another is no news
