"""Reads files ahead of what is added: by worker processes, small files many at a time."""

from __future__ import annotations

import math
import stat
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, TypeAlias

from atlas.errors import AtlasError
from atlas.ingest.provenance import Fingerprint, fingerprint
from atlas.ingest.workers import Worker
from atlas.runtime.threads import run_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import ExitStack

    from atlas.ingest.reading import ReadFile, ReadOptions
    from atlas.ingest.report import SourceResult
    from atlas.ingest.sources import FileSource

__all__ = ["AheadReader", "Outcome"]

Outcome: TypeAlias = "SourceResult | tuple[ReadFile, Worker] | AtlasError"
"""What became of a source, or what was read of it."""

_AHEAD = 4
"""Batches for each worker that are read or waiting, before the next one is begun."""
_SMALL_BYTES = 256 << 10
"""Bytes up to which a file is read with others: a process that waits for the next request does nothing."""
_FEW_FILES, _MANY_FILES, _BATCH_BYTES = 8, 128, 4 << 20
"""Files of a batch, so many that each worker has some batches, and the most bytes of one."""


class AheadReader:
    """Reads files in their order."""

    def __init__(
        self,
        files: Sequence[FileSource],
        options: ReadOptions,
        workers: int,
        seconds: float,
        settle: Callable[[FileSource], SourceResult | None],
    ) -> None:
        self._files, self._options, self._settle = files, options, settle
        self._workers, self._seconds = workers, seconds
        self._free: SimpleQueue[Worker] = SimpleQueue()
        self._folder: Path | None = None

    def read_all(self, stack: ExitStack) -> Generator[tuple[FileSource, Outcome], None, None]:
        """Yield each file with what `settle` says becomes of it, or what was read; `stack` ends what is begun."""
        for _ in range(self._workers):
            self._free.put(stack.enter_context(Worker(self._seconds)))
        if any(source.url is not None for source in self._files):
            self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="atlas-", ignore_cleanup_errors=True)))
        with closing(run_ahead(self._read_batch, self._batches(), self._workers, _AHEAD * self._workers)) as batches:
            for batch in batches:
                for source, outcome in batch:
                    yield self._read_one(source) if outcome is None else (source, outcome)

    def fingerprint(self, source: FileSource, *, digest: bool) -> Fingerprint:
        """Return that of a source as it is now. Raises `AtlasError` and `OSError`."""
        if source.url is None:
            return fingerprint(source.path, digest=digest)
        worker = self._free.get()
        try:
            if not digest:
                return Fingerprint(source.url, *worker.call("stat", source.url))
            with TemporaryDirectory(prefix="atlas-") as folder:
                path = Path(folder) / source.path.name
                worker.call("fetch", source.url, path)
                return replace(fingerprint(path, digest=True), path=source.url)
        finally:
            self._free.put(worker)

    def _batches(self) -> Iterator[list[FileSource]]:
        """Yield the files, small ones that follow each other together."""
        most = min(max(len(self._files) // (_AHEAD * self._workers), _FEW_FILES), _MANY_FILES)
        batch: list[FileSource] = []
        size = 0.0
        for source in self._files:
            own = _size(source)
            if batch and (own > _SMALL_BYTES or len(batch) == most or size + own > _BATCH_BYTES):
                yield batch
                batch, size = [], 0.0
            if own > _SMALL_BYTES:
                yield [source]
            else:
                batch.append(source)
                size += own
        if batch:
            yield batch

    def _read_batch(self, batch: list[FileSource]) -> list[tuple[FileSource, Outcome | None]]:
        """Read files; None stands for those that would take too much memory beside the others."""
        settled = [(source, self._settle(source)) for source in batch]
        left = [source for source, known in settled if known is None]
        read = iter(self._read_together(left) if len(left) > 1 else map(self._read_one, left))
        return [next(read) if known is None else (source, known) for source, known in settled]

    def _read_together(self, files: list[FileSource]) -> list[tuple[FileSource, Outcome | None]]:
        """Read small files with one request."""
        worker = self._free.get()
        try:
            answers = worker.call_each("file", [(source.path, self._options, source.engine, None) for source in files])
        finally:
            self._free.put(worker)
        outcomes = [answer if isinstance(answer, AtlasError) else (answer, worker) for answer in answers]
        return list(zip_longest(files, outcomes))

    def _read_one(self, source: FileSource) -> tuple[FileSource, Outcome]:
        """Read a file, which is fetched first from where a URL says; its path is then that of the copy."""
        worker = self._free.get()
        try:
            if source.url is not None:
                assert self._folder is not None
                source = replace(source, path=Path(mkdtemp(dir=self._folder)) / source.path.name)
                worker.call("fetch", source.url, source.path)
            return source, (worker.call("file", source.path, self._options, source.engine, source.url), worker)
        except AtlasError as error:
            return source, error
        finally:
            self._free.put(worker)


def _size(source: FileSource) -> float:
    """Return the bytes of a file that is here; infinity for all else, which is read alone."""
    if source.url is not None:
        return math.inf
    try:
        found = source.path.stat()
    except OSError:
        return math.inf
    return found.st_size if stat.S_ISREG(found.st_mode) else math.inf
