"""Adds sources to a store, one dataset for each, and commits as it goes. See `Atlas.add_many`.

Worker processes read ahead while datasets are added, in the order of their sources. A source is stored whole or not at
all, and every one ends in the report.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import dask

import atlas.xarray
from atlas.errors import AtlasError, ConflictError, IngestError, InvalidTypeError, InvalidValueError, StorageError
from atlas.format.attribute_keys import INGESTED_KEY
from atlas.ingest.commits import CommitPolicy
from atlas.ingest.datasets import check_pair, split_sources
from atlas.ingest.large_variables import whole_contents
from atlas.ingest.options import Every
from atlas.ingest.progress import Progress
from atlas.ingest.provenance import describe_source, read_fingerprint
from atlas.ingest.reading import ReadOptions
from atlas.ingest.reading_ahead import AheadReader
from atlas.ingest.report import IngestInterruptedError, IngestReport, SourceResult
from atlas.ingest.report_file import check_report_file, written_to
from atlas.ingest.sources import Found, find_files
from atlas.ingest.splitting import part_name, split_dataset
from atlas.runtime.cycles import collecting_rarely

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import xarray as xr

    from atlas.format.attribute_keys import AttributeKey
    from atlas.ingest.datasets import Elements
    from atlas.ingest.options import IngestOptions, ReportFile, Sources
    from atlas.ingest.provenance import Fingerprint
    from atlas.ingest.reading_ahead import Outcome
    from atlas.ingest.report import Status
    from atlas.ingest.sources import FileSource, Search
    from atlas.session import Session
    from atlas.xarray import Contents

__all__ = ["add_sources"]


def add_sources(
    session: Session,
    sources: Sources,
    search: Search,
    options: IngestOptions,
    version: str,
    progress: bool | Callable[[IngestReport], None] = False,
    report: ReportFile | None = None,
) -> IngestReport:
    """Add sources to a store, and return what became of each.

    `version` is that of this package. `progress` is called after each source; True shows it. `report` is a file to
    write that to. Raises what `Atlas.add_many` says.
    """
    file = check_report_file(report)
    if session.pending:
        raise InvalidValueError(
            "unflushed changes would be committed with what is added: call flush() before add_many()"
        )
    if not (isinstance(progress, bool) or callable(progress)):
        raise InvalidTypeError(f"progress is True, False or a function, not {type(progress).__name__} {progress!r}")
    paths, elements = split_sources(sources, search, options)
    if paths is None:
        found = Found()
    else:
        found = find_files(
            paths,
            pattern=search.pattern,
            follow_links=search.follow_links,
            name_of=search.names,
            engine=search.engine,
        )
    ingest = _Ingest(session, options, version, found, elements)
    with written_to(file, ingest.report):
        if progress is True:
            with closing(Progress() if elements is None else Progress("dataset", has_total=False)) as shown:
                return ingest.run(shown)
        return ingest.run(None if progress is False else progress)


class _Ingest:
    """One call of `add_many`."""

    def __init__(
        self,
        session: Session,
        options: IngestOptions,
        version: str,
        found: Found,
        elements: Elements | None,
    ) -> None:
        self._session, self._options, self._version = session, options, version
        self._elements = elements
        self.report = IngestReport(
            others=found.others, links=found.links, unreadable=found.unreadable, sources=len(found.files)
        )
        """What became of each source so far."""
        self._policy = CommitPolicy(Every.parse(options.flush_every))
        self._replaced = set[str]()  # names that were added in place of everything in the store
        self._read = ReadOptions(
            tuple(options.drop),
            options.raw,
            drop_unsupported=options.on_unsupported == "drop",
            keep_undecoded=options.on_unsupported == "raw",
            flatten=options.groups == "flatten",
        )
        if options.splits:
            self._read = replace(self._read, large_bytes=sys.maxsize)  # parts are cut from cells in memory
        self._reader = AheadReader(found.files, self._read, options.workers, options.seconds, self._settle)

    def run(self, progress: Callable[[IngestReport], None] | None) -> IngestReport:
        """Add all sources."""
        report = self.report
        try:
            try:
                self._add_all(progress)
            except BaseException:
                self._finish(is_whole=False)
                raise
            self._finish(is_whole=self._options.on_error == "skip" or report.is_complete)
        except KeyboardInterrupt as error:
            raise IngestInterruptedError(report) from error
        if self._options.on_error == "raise" and not report.is_complete:
            raise IngestError(self._complaint(), report)
        return report

    def _add_all(self, progress: Callable[[IngestReport], None] | None) -> None:
        """Add sources and commit as it goes, up to the first failure that ends it."""
        report = self.report
        with collecting_rarely(), ExitStack() as stack, closing(self._begin(stack)) as sources:
            for results in sources:
                for result in results:
                    report.results.append(result)
                    if progress is not None:
                        progress(report)
                    if self._policy.is_due() and not self._options.overwrite:
                        self._commit()
                    if result.status == "failed" and self._options.on_error == "raise":
                        return

    def _finish(self, *, is_whole: bool) -> None:
        """Commit what was added; what is to replace the store only where it is whole."""
        if not self._options.overwrite:
            self._commit()
            return
        try:
            if is_whole and self._policy.waiting:
                added = {self.report.results[at].dataset for at in self._policy.waiting}
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
            self.report.results[at] = replace(self.report.results[at], status="failed", reason=reason)
        self._policy.waiting.clear()

    def _complaint(self) -> str:
        """Return what is to be said of the first failure."""
        report, kept = self.report, self._kept()
        if report.failures:
            first = report.failures[0]
            return f"{first.source} is not stored: {first.reason}; {kept}, and on_error='skip' goes on with the others"
        folder, reason = report.unreadable[0]
        return f"the folder {folder} could not be read: {reason}; {kept}; on_error='skip' passes it over"

    def _kept(self) -> str:
        return f"{self.report.count('stored')} sources were stored before it"

    def _begin(self, stack: ExitStack) -> Generator[Iterator[SourceResult], None, None]:
        """Yield for each source, in their order, what adds it and gives what became of it."""
        if self._elements is not None:
            yield from self._take(self._elements)
            return
        with closing(self._reader.read_all(stack)) as sources:
            for source, outcome in sources:
                yield self._add(source, outcome)

    def _take(self, elements: Elements) -> Generator[Iterator[SourceResult], None, None]:
        """Take datasets one at a time."""
        report = self.report
        while True:
            try:
                element = next(elements)
            except StopIteration:
                return
            except Exception as error:
                report.sources += 1  # the one that did not come: the report is not complete
                raised = f"the iterator of datasets raised {type(error).__name__}: {error}"
                raise IngestError(f"{raised}; {self._kept()}", report) from error
            name, ds = check_pair(element)
            report.sources += 1
            yield self._add_dataset(name, ds)
            del element, ds

    def _settle(self, source: FileSource) -> SourceResult | None:
        """Return what becomes of a source that need not be read, None of others."""
        return self._known(source) if source.reason or not self._options.splits else None

    def _known(self, source: FileSource, now: Fingerprint | None = None) -> SourceResult | None:
        """Return what becomes of a source that need not be read, None of others; `now` is that of one that was read."""
        result = partial(SourceResult, source.origin, source.name)
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
        found = self._reader.fingerprint(source, digest=False) if now is None else now
        if self._options.resume and before is not None:
            is_same = before.is_unchanged(found) and found.mtime_ns != 0  # a server may not say the time
            if is_same or before.has_equal_bytes(now or self._reader.fingerprint(source, digest=True)):
                return "present", None
        is_own = before is not None and before.path == found.path
        of = "" if before is None else f", from {before.path}"
        changed = ", changed since" if is_own and self._options.resume else ""
        return self._refuse(f"the store has a dataset {source.name!r} already{of}{changed}", is_own=is_own)

    def _refuse(self, reason: str, *, is_own: bool = False) -> tuple[Status, str] | None:
        """Return what becomes of a source whose name the store has, which `reason` says; None where it replaces that.

        `is_own` tells whether the dataset came from the same source.
        """
        if_exists = self._options.if_exists
        if if_exists == "replace" or (if_exists == "update" and is_own):
            return None
        if if_exists == "skip":
            return "skipped", reason
        replacing = "if_exists='update' (--update" if is_own else "if_exists='replace' (--if-exists replace"
        return "failed", (
            f"{reason}; replace that one with {replacing} of the command), keep it with if_exists='skip' (--if-exists "
            "skip), or choose another name"
        )

    def _add_dataset(self, name: str, ds: xr.Dataset) -> Iterator[SourceResult]:
        """Add a dataset that was given."""
        result = SourceResult(name, name, "stored")
        try:
            contents = atlas.xarray.contents_of(ds)
        except AtlasError as error:
            yield replace(result, status="failed", reason=str(error))
            return
        self.report.dims.update(map(str, ds.dims))
        self.report.variables.update(map(str, ds.variables))

        def settle(dataset: str) -> SourceResult | None:
            refused = self._refuse(f"the store has a dataset {dataset!r} already")
            return None if refused is None else SourceResult(name, dataset, *refused)

        yield from self._store_parts(result, contents, {}, settle)

    def _add(self, source: FileSource, outcome: Outcome) -> Iterator[SourceResult]:
        """Add what was read of a file, and remove what was fetched."""
        try:
            yield from self._add_file(source, outcome)
        finally:
            if source.url is not None and source.path.is_absolute():
                shutil.rmtree(source.path.parent, ignore_errors=True)

    def _add_file(self, source: FileSource, outcome: Outcome) -> Iterator[SourceResult]:
        report = self.report
        if isinstance(outcome, SourceResult):
            yield outcome
            return
        if isinstance(outcome, AtlasError):
            yield SourceResult(source.origin, source.name, "failed", str(outcome))
            return
        read, worker = outcome
        report.dims |= read.dims
        report.variables |= read.variables

        def settle(dataset: str) -> SourceResult | None:
            # A commit may have brought what another writer has added or changed since the source was looked at.
            return self._known(replace(source, name=dataset), read.fingerprint)

        result = SourceResult(
            source.origin,
            source.name,
            "stored",
            dropped=read.dropped,
            kept_raw=read.kept_raw | read.untouched,
            lost_attributes=read.lost_attributes,
        )
        now = dt.datetime.now(dt.UTC)
        hidden: dict[AttributeKey, object] = {(INGESTED_KEY,): describe_source(read.fingerprint, self._version, now)}
        contents = whole_contents(source, read, worker, self._read, self._options.chunks or {})
        with dask.config.set(scheduler="synchronous") if read.large else nullcontext():
            yield from self._store_parts(result, contents, hidden, settle)

    def _store_parts(
        self,
        result: SourceResult,
        contents: Contents,
        hidden: dict[AttributeKey, object],
        settle: Callable[[str], SourceResult | None],
    ) -> Iterator[SourceResult]:
        """Store what was read as one dataset, or as the parts that it is split into; yield what became of each.

        `settle` returns what becomes of one whose name the store has, None where it replaces that.
        """
        options, parts = self._options, iter([(result.dataset, contents)])
        if options.splits:
            try:
                found = split_dataset(atlas.xarray.dataset_of(contents), along=options.split, by=options.split_by)
            except AtlasError as error:
                yield replace(result, status="failed", reason=str(error))
                return
            parts = ((part_name(result.dataset, label), atlas.xarray.contents_of(part)) for label, part in found)
        for at, (name, part) in enumerate(parts):
            self.report.sources += at > 0
            made = result if name == result.dataset else replace(result, dataset=name)
            try:
                exists = not options.overwrite and self._session.view.exists(name)
                known = settle(name) if exists else None
            except AtlasError as error:
                known = replace(made, status="failed", reason=str(error))
            if name in self._replaced:
                known = replace(made, status="failed", reason=f"a dataset {name!r} came before it; choose another name")
            yield known or self._store(replace(made, status="updated") if exists else made, part, hidden)

    def _store(self, result: SourceResult, contents: Contents, hidden: dict[AttributeKey, object]) -> SourceResult:
        """Store a dataset, and return `result`, or that it failed."""
        chunks = {dim: length for dim, length in (self._options.chunks or {}).items() if dim in contents.dims}
        name, keeps = result.dataset, self._options.encoding == "keep"
        try:
            if self._options.overwrite and self._session.view.exists(name):
                self._session.writer.delete_dataset(name)
            if result.status == "updated":
                atlas.xarray.replace(self._session, contents, name, chunks, hidden, keeps_encoding=keeps)
            else:
                atlas.xarray.add(self._session, contents, name, chunks, hidden, keeps_encoding=keeps)
        except StorageError as error:  # such as a full disk, for changes that wait for a commit
            self.report.results.append(replace(result, status="failed", reason=str(error)))
            raise
        except Exception as error:  # noqa: BLE001 - odd files lead to errors of any type, and cost themselves alone
            reason = " ".join(str(error).split())
            reason = reason if isinstance(error, AtlasError) else f"{type(error).__name__}: {reason}"
            return replace(result, status="failed", reason=reason)
        if self._options.overwrite:
            self._replaced.add(name)
        self._policy.add(len(self.report.results), contents.nbytes)
        return result

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
                lost = [at for at in self._policy.waiting if self.report.results[at].dataset in taken]
                if not lost:
                    self._revoke("the commit that it was in met another writer's; add it again")
                    raise
                for at in lost:
                    result = self.report.results[at]
                    self._session.writer.discard_dataset(result.dataset)
                    self._policy.waiting.remove(at)
                    self.report.results[at] = replace(result, status="failed", reason=_taken(result))
                if not self._policy.waiting:
                    break
            except BaseException:
                self._revoke("the commit that it was in failed; once the cause is gone, add it again")
                raise
        if self._policy.waiting:
            self.report.versions.append(self._session.catalog.version)
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
