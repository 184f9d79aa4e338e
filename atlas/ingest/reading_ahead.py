"""Reads files ahead of what is added: by worker processes, small files many at a time."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
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
_BATCH_FILES = 16
"""The most files of a batch."""


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
                    yield source, self._read_one(source) if outcome is None else outcome

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
        batch: list[FileSource] = []
        for source in self._files:
            if _is_small(source):
                batch.append(source)
                if len(batch) < _BATCH_FILES:
                    continue
            elif batch:
                yield batch
                batch = []
            yield batch or [source]
            batch = []
        if batch:
            yield batch

    def _read_batch(self, batch: list[FileSource]) -> list[tuple[FileSource, Outcome | None]]:
        """Read files; None stands for those that would take too much memory beside the others."""
        found = [self._settle(source) for source in batch]
        left = [at for at, known in enumerate(found) if known is None]
        outcomes: list[Outcome | None] = list(found)
        if len(left) > 1:
            worker = self._free.get()
            try:
                calls = [(batch[at].path, self._options, batch[at].engine, None) for at in left]
                for at, answer in zip(left, worker.call_each("file", calls), strict=False):
                    outcomes[at] = answer if isinstance(answer, AtlasError) else (answer, worker)
            finally:
                self._free.put(worker)
        elif left and batch[left[0]].url is None:
            outcomes[left[0]] = self._read_one(batch[left[0]])
        elif left:
            assert self._folder is not None
            batch = [replace(batch[0], path=Path(mkdtemp(dir=self._folder)) / batch[0].path.name)]
            outcomes = [self._read_one(batch[0])]
        return list(zip(batch, outcomes, strict=True))

    def _read_one(self, source: FileSource) -> Outcome:
        worker = self._free.get()
        try:
            if source.url is not None:
                worker.call("fetch", source.url, source.path)
            return worker.call("file", source.path, self._options, source.engine, source.url), worker
        except AtlasError as error:
            return error
        finally:
            self._free.put(worker)


def _is_small(source: FileSource) -> bool:
    if source.url is not None:
        return False
    try:
        return source.path.stat().st_size <= _SMALL_BYTES and source.path.is_file()
    except OSError:
        return False
