"""Adds sources to a store, one dataset for each, and commits as it goes. See `Atlas.add_many`.

Worker processes read ahead while datasets are added, in the order of their sources. A source is stored whole or not at
all, and every one ends in the report.
"""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import dask
import dask.array as da
import numpy as np
import xarray as xr

import atlas.xarray
from atlas.errors import AtlasError, ConflictError, IngestError, InvalidTypeError, InvalidValueError, StorageError
from atlas.format.attribute_keys import INGESTED_KEY
from atlas.ingest.commits import CommitPolicy
from atlas.ingest.options import Every
from atlas.ingest.progress import Progress
from atlas.ingest.provenance import describe_source, fingerprint, read_fingerprint
from atlas.ingest.reading import ReadOptions
from atlas.ingest.report import IngestInterruptedError, IngestReport, SourceResult
from atlas.ingest.sources import path_text
from atlas.ingest.workers import Worker
from atlas.runtime.threads import run_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.ingest.options import IngestOptions
    from atlas.ingest.provenance import Fingerprint
    from atlas.ingest.reading import LargeVariable, ReadFile
    from atlas.ingest.report import Status
    from atlas.ingest.sources import FileSource, Found
    from atlas.session import Session
    from atlas.xarray import Contents
    from atlas.xarray.interfaces import StoreInterface

__all__ = ["add_files"]

_AHEAD = 4
"""Files for each worker that are read or waiting, before the next one is begun."""
_Outcome: TypeAlias = "SourceResult | tuple[ReadFile, Worker] | AtlasError"
"""What became of a source, or what was read of it."""


def add_files(
    store: StoreInterface,
    session: Session,
    found: Found,
    options: IngestOptions,
    version: str,
    progress: bool | Callable[[IngestReport], None] = False,
) -> IngestReport:
    """Add files to a store, and return what became of each.

    `version` is that of this package. `progress` is called after each source; True shows it. Raises what
    `Atlas.add_many` says.
    """
    if session.pending:
        raise InvalidValueError(
            "unflushed changes would be committed with what is added: call flush() before add_many()"
        )
    if not (isinstance(progress, bool) or callable(progress)):
        raise InvalidTypeError(f"progress is True, False or a function, not {type(progress).__name__} {progress!r}")
    ingest = _Ingest(store, session, options, version, found)
    if progress is True:
        with closing(Progress()) as shown:
            return ingest.run(shown)
    return ingest.run(None if progress is False else progress)


class _Ingest:
    """One call of `add_many`."""

    def __init__(
        self, store: StoreInterface, session: Session, options: IngestOptions, version: str, found: Found
    ) -> None:
        self._store, self._session, self._options, self._version = store, session, options, version
        self._files = found.files
        self._report = IngestReport(
            others=found.others, links=found.links, unreadable=found.unreadable, sources=len(found.files)
        )
        self._policy = CommitPolicy(Every.parse(options.flush_every))
        self._read = ReadOptions(tuple(options.drop), options.raw, options.on_unsupported == "drop")

    def run(self, progress: Callable[[IngestReport], None] | None) -> IngestReport:
        """Add all files."""
        report = self._report
        try:
            with ExitStack() as stack, closing(self._read_ahead(stack)) as sources:
                for source, outcome in sources:
                    result = outcome if isinstance(outcome, SourceResult) else self._add(source, outcome)
                    report.results.append(result)
                    if self._policy.is_due() and not self._options.overwrite:
                        self._commit()
                    if progress is not None:
                        progress(report)
                    if result.status == "failed" and self._options.on_error == "raise":
                        break
        except KeyboardInterrupt as error:
            self._finish(is_whole=False)
            raise IngestInterruptedError(report) from error
        except BaseException:
            self._finish(is_whole=False)
            raise
        self._finish(is_whole=self._options.on_error == "skip" or report.is_complete)
        if self._options.on_error == "raise" and not report.is_complete:
            raise IngestError(self._complaint(), report)
        return report

    def _finish(self, *, is_whole: bool) -> None:
        """Commit what was added; what is to replace the store only where it is whole."""
        if not self._options.overwrite:
            self._commit()
            return
        try:
            if is_whole and self._policy.waiting:
                added = {self._report.results[at].dataset for at in self._policy.waiting}
                for name in self._session.view.dataset_names():
                    if name not in added:
                        self._session.writer.delete_dataset(name)
                self._commit()
            else:
                self._revoke("nothing was replaced, as not all was read; add it again")
        finally:
            self._session.discard()

    def _revoke(self, reason: str) -> None:
        """Say of what was added that it is not stored."""
        for at in self._policy.waiting:
            self._report.results[at] = replace(self._report.results[at], status="failed", reason=reason)
        self._policy.waiting.clear()

    def _complaint(self) -> str:
        """Return what is to be said of the first failure."""
        report = self._report
        kept = f"; {report.count('stored') + report.count('updated')} sources were stored before it"
        if report.failures:
            first = report.failures[0]
            return f"{first.source} is not stored: {first.reason}{kept}, and on_error='skip' goes on with the others"
        folder, reason = report.unreadable[0]
        return f"the folder {folder} could not be read: {reason}{kept}; on_error='skip' passes it over"

    def _read_ahead(self, stack: ExitStack) -> Generator[tuple[FileSource, _Outcome], None, None]:
        """Yield each source with what became of it, or what was read, in their order."""
        count = self._options.workers
        free: SimpleQueue[Worker] = SimpleQueue()
        for _ in range(count):
            free.put(stack.enter_context(Worker(self._options.seconds)))

        def read(source: FileSource) -> tuple[FileSource, _Outcome]:
            known = self._known(source)
            return source, known or self._read_file(free, source.path)

        return run_ahead(read, self._files, count, _AHEAD * count)

    def _read_file(self, free: SimpleQueue[Worker], path: Path) -> _Outcome:
        worker = free.get()
        try:
            return worker.call("file", path, self._read), worker
        except AtlasError as error:
            return error
        finally:
            free.put(worker)

    def _known(self, source: FileSource, now: Fingerprint | None = None) -> SourceResult | None:
        """Return what becomes of a source that need not be read, None of others; `now` is that of one that was read."""
        result = partial(SourceResult, path_text(source.path), source.name)
        if source.reason is not None:
            return result("failed", source.reason)
        try:
            if self._options.overwrite or not self._session.view.exists(source.name):
                return None
            found = self._compare(source, now)
            return None if found is None else result(*found)
        except (AtlasError, OSError) as error:
            return result("failed", str(error))

    def _compare(self, source: FileSource, now: Fingerprint | None) -> tuple[Status, str | None] | None:
        """Return what becomes of a source whose dataset the store has, None where it is to replace that."""
        before = read_fingerprint(self._session.view.exact_attributes(source.name).get((INGESTED_KEY,)))
        found = fingerprint(source.path, digest=False) if now is None else now
        if self._options.resume and before is not None:
            is_same = before.is_unchanged(found) or before.has_equal_bytes(now or fingerprint(source.path, digest=True))
            if is_same:
                return "present", None
        is_own, if_exists = before is not None and before.path == found.path, self._options.if_exists
        if if_exists == "replace" or (if_exists == "update" and is_own):
            return None
        of = "" if before is None else f", from {before.path}"
        changed = ", changed since" if is_own and self._options.resume else ""
        reason = f"the store has a dataset {source.name!r} already{of}{changed}"
        if if_exists == "skip":
            return "skipped", reason
        replacing = "if_exists='update' (--update" if is_own else "if_exists='replace' (--if-exists replace"
        return "failed", (
            f"{reason}; replace that one with {replacing} of the command), keep it with if_exists='skip' (--if-exists "
            "skip), or choose another name"
        )

    def _add(self, source: FileSource, outcome: tuple[ReadFile, Worker] | AtlasError) -> SourceResult:
        """Add what was read of a file."""
        report = self._report
        if isinstance(outcome, AtlasError):
            return SourceResult(path_text(source.path), source.name, "failed", str(outcome))
        read, worker = outcome
        report.dims |= read.dims
        report.variables |= read.variables
        replaces = not self._options.overwrite and self._session.view.exists(source.name)
        # A commit may have brought what another writer has added or changed since the source was looked at.
        known = self._known(source, read.fingerprint) if replaces else None
        if known is not None:
            return known
        result = SourceResult(
            path_text(source.path),
            source.name,
            "updated" if replaces else "stored",
            dropped=read.dropped,
            kept_raw=read.kept_raw,
        )
        now = dt.datetime.now(dt.UTC)
        hidden: dict[AttributeKey, object] = {(INGESTED_KEY,): describe_source(read.fingerprint, self._version, now)}
        contents = self._assembled(source.path, read, worker)
        chunks = {dim: length for dim, length in (self._options.chunks or {}).items() if dim in contents.dims}
        try:
            if self._options.overwrite and self._session.view.exists(source.name):
                self._session.writer.delete_dataset(source.name)
            with dask.config.set(scheduler="synchronous"):
                if replaces:
                    atlas.xarray.replace(self._session, contents, source.name, chunks, hidden)
                else:
                    atlas.xarray.add(self._store, self._session, contents, source.name, chunks, hidden)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - odd files lead to errors of any type, and cost themselves alone
            reason = " ".join(str(error).split())
            reason = reason if isinstance(error, AtlasError) else f"{type(error).__name__}: {reason}"
            return replace(result, status="failed", reason=reason)
        self._policy.add(len(report.results), contents.nbytes)
        return result

    def _assembled(self, path: Path, read: ReadFile, worker: Worker) -> Contents:
        """Return what a file holds, its large variables read block by block."""
        if not read.large:
            return read.contents
        variables = dict(read.contents.variables)
        for name, large in read.large.items():
            cells = _RemoteCells(worker, path, self._read, read, name)
            blocks = da.from_array(cells, self._lengths(large), name=f"{path}:{name}", asarray=False)  # type: ignore[no-untyped-call]
            variables[name] = xr.Variable(large.dims, blocks, large.attrs, large.encoding)
        return replace(read.contents, variables={name: variables[name] for name in read.order})

    def _lengths(self, large: LargeVariable) -> Any:
        """Return the lengths of the blocks of a large variable."""
        chunks = self._options.chunks or {}
        asked = {axis: chunks[str(dim)] for axis, dim in enumerate(large.dims) if dim in chunks}
        if asked:
            return tuple(asked.get(axis, -1) for axis in range(len(large.dims)))
        if large.dtype == object:
            itemsize = large.dtype.itemsize * int(np.prod(large.shape[1:]))
            return (max(1, self._read.large_bytes // max(itemsize, 1)), *large.shape[1:])
        with dask.config.set({"array.chunk-size": self._read.large_bytes}):
            return da.core.normalize_chunks("auto", large.shape, dtype=large.dtype)  # type: ignore[no-untyped-call]

    def _commit(self) -> None:
        """Commit what was added. A name that another writer has taken or changed meanwhile costs itself alone."""
        if not self._policy.waiting:
            return
        interrupted: KeyboardInterrupt | None = None
        while True:
            try:
                self._session.flush()
                break
            except KeyboardInterrupt as error:
                # What was read is to be stored: only a second one, or an error, ends the commit.
                if interrupted is not None:
                    self._revoke("the commit that it was in was interrupted; add it again")
                    raise
                interrupted = error
            except ConflictError as error:
                taken = {name for name, _ in error.collisions}
                lost = [at for at in self._policy.waiting if self._report.results[at].dataset in taken]
                if not lost:
                    self._revoke("the commit that it was in met another writer's; add it again")
                    raise
                for at in lost:
                    result = self._report.results[at]
                    self._session.writer.discard_dataset(result.dataset)
                    self._policy.waiting.remove(at)
                    self._report.results[at] = replace(result, status="failed", reason=_taken(result))
                if not self._policy.waiting:
                    break
            except BaseException:
                self._revoke("the commit that it was in failed; once the cause is gone, add it again")
                raise
        if self._policy.waiting:
            self._report.versions.append(self._session.catalog.version)
        self._policy.committed()
        if interrupted is not None:
            raise interrupted


def _taken(result: SourceResult) -> str:
    """Return what is to be said of a source whose dataset another writer has added or changed meanwhile."""
    if result.status == "updated":
        return f"another writer has changed the dataset {result.dataset!r} meanwhile, and it stays so; add it again"
    return (
        f"another writer has added a dataset {result.dataset!r} meanwhile; choose another name, or replace theirs with "
        "if_exists='replace' (--if-exists replace of the command)"
    )


class _RemoteCells:
    """The cells of a large variable, read by a worker block by block."""

    def __init__(self, worker: Worker, path: Path, options: ReadOptions, read: ReadFile, name: str) -> None:
        left_out = replace(options, drop=(*options.drop, *read.dropped))
        self._call = partial(worker.call, "block", path, left_out, read.fingerprint, tuple(read.kept_raw), name)
        large = read.large[name]
        self.shape, self.dtype, self.ndim = large.shape, large.dtype, len(large.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block."""
        cells: NDArray[Any] = self._call(key)
        return cells
