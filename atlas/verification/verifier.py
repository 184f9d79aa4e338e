"""Verifying a store: every document, index, block and chunk is read and compared with what is said of it.

Nothing is dropped or changed on the way. On request a checkpoint is written anew where the commits hold all that it
would, and what is whole is written to a new store.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.catalog.catalog import Catalog
from atlas.catalog.chunk_index import load_segment
from atlas.commit.commit_log import CommitLog
from atlas.commit.commit_writer import CommitWriter
from atlas.commit.creation import create_store
from atlas.errors import AtlasError, StaleHandleError, StorageError, StoreExistsError, UnsupportedFormatError
from atlas.format.changes import Changes
from atlas.format.config import StoreConfig
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.session import Session
from atlas.verification.export import export_whole
from atlas.verification.findings import Findings
from atlas.verification.metadata_check import Survey, survey
from atlas.verification.progress import showing_progress
from atlas.verification.report import VerifyReport
from atlas.verification.segment_check import check_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.storage import Storage

__all__ = ["verify_session", "verify_storage"]

_TRIES = 3
"""How often the latest version is read where others compact the store meanwhile."""
_CODECS = ("none", "zstd", "lz4")


@dataclass(frozen=True, slots=True)
class _Handle:
    """What an open handle knows of its store, for where documents do not tell any more."""

    catalog: Catalog
    log: CommitLog


def verify_session(session: Session, *, repair: bool, target: Storage | None, progress: object) -> VerifyReport:
    """Verify the version that an open handle shows; what is pending is left alone."""
    with session.locks.state:
        known, log = session.catalog, session.log
        catalog = Catalog()
        segments = tuple(ref for refs in known.segments.values() for ref in refs)
        rows = known.rows(known.live_rows())
        catalog.apply(Changes(known.version, known.next_id, rows=rows, segments=segments, writers=known.writers), [])
        handle = _Handle(catalog, copy(log))
    return _verify(log.storage, handle, repair=repair, target=target, progress=progress)


def verify_storage(storage: Storage, *, repair: bool, target: Storage | None, progress: object) -> VerifyReport:
    """Verify the latest version of a store, which need not open.

    Raises `StoreNotFoundError` where there is none and `UnsupportedFormatError` for one of another format.
    """
    return _verify(storage, None, repair=repair, target=target, progress=progress)


def _verify(
    storage: Storage, handle: _Handle | None, *, repair: bool, target: Storage | None, progress: object
) -> VerifyReport:
    if target is not None:
        _refuse_store(target)
    with showing_progress(progress, "verify") as tell:
        findings, found, catalog = _look(storage, handle, tell)
    mended = _mend(storage, found, handle) if repair else ()
    left_out: list[tuple[str, str | None]] = []
    if target is not None and catalog is not None:
        config = _config(storage, catalog, found, handle)
        left_out = export_whole(storage, catalog, findings.broken, findings.lost, _new_store(target, config))
    return VerifyReport(
        store=storage.describe,
        version=-1 if catalog is None else catalog.version,
        damage=tuple(findings.damage),
        files=findings.files,
        blocks=findings.blocks,
        chunks=findings.chunks,
        bytes=findings.bytes,
        datasets=0 if catalog is None else len(catalog),
        leftover=_leftover(storage, found, catalog),
        mended=mended,
        exported=None if target is None or catalog is None else target.describe,
        left_out=tuple(left_out),
    )


def _look(
    storage: Storage, handle: _Handle | None, tell: Callable[[int, int], object] | None
) -> tuple[Findings, Survey, Catalog | None]:
    """Read everything, and once more where another process removed files meanwhile."""
    version = None if handle is None else handle.catalog.version
    for _ in range(_TRIES):
        before = _checkpoints(storage)
        findings = Findings(tell)
        found = survey(storage, findings, version)
        catalog = found.catalog
        if handle is not None and (catalog is None or catalog.version != version):
            catalog = handle.catalog
        if catalog is None:
            _refuse_other_formats(storage)
            return findings, found, None
        findings.catalog = catalog
        findings.total = findings.bytes + sum(ref.size for refs in catalog.segments.values() for ref in refs)
        for array, refs in sorted(catalog.segments.items()):
            check_array(storage, catalog, array, refs, findings)
        given_up = handle is not None and found.base.version > handle.catalog.version
        if not findings.missing or (_checkpoints(storage) == before and not given_up):
            return findings, found, catalog
        if given_up:
            break
    raise StaleHandleError(
        f"files of the store at {storage.describe} were removed while it was verified, as another process compacts or "
        "replaces it: open it again, and verify it then"
    )


def _checkpoints(storage: Storage) -> list[bytes]:
    found = []
    for name in CHECKPOINT_NAMES:
        with suppress(FileNotFoundError, StorageError):
            found.append(storage.read(name))
    return found


def _refuse_other_formats(storage: Storage) -> None:
    """Raise `UnsupportedFormatError` where opening does."""
    try:
        CommitLog.open(storage)
    except UnsupportedFormatError:
        raise
    except AtlasError:
        return


def _refuse_store(target: Storage) -> None:
    if _checkpoints(target):
        raise StoreExistsError(f"there is a store at {target.describe} already; export to a place where there is none")


def _new_store(target: Storage, config: StoreConfig) -> Session:
    return Session(*create_store(target, config, overwrite=False))


def _mend(storage: Storage, found: Survey, handle: _Handle | None) -> tuple[str, ...]:
    """Write the checkpoint anew where it is damaged and all that it held is known otherwise."""
    key = found.bad_checkpoint
    if key is None:
        return ()
    if found.added_up is not None:
        catalog, source = found.added_up, "the commits"
        config = _config(storage, catalog, found, handle)
        created = found.created or dt.datetime.now(dt.UTC)
        log = CommitLog(storage, config, found.identity, found.base, created)
        log.config_since = found.began
    elif handle is not None and handle.catalog.version == found.last:
        catalog, source, log = handle.catalog, "what this handle holds", copy(handle.log)
    else:
        return ()
    if not CommitWriter(log).checkpoint(catalog, force=True):
        raise StorageError(f"{key} is damaged and could not be written anew; {storage.describe} takes no files")
    return (f"{log.config.encoding.checkpoint}, written anew from {source} up to version {catalog.version}",)


def _config(storage: Storage, catalog: Catalog, found: Survey, handle: _Handle | None) -> StoreConfig:
    """Return what `create` decided: where no document tells, the codec is that of the newest blocks."""
    if found.config is not None:
        return found.config
    if handle is not None:
        return handle.log.config
    name = found.bad_checkpoint or next(iter(CHECKPOINT_NAMES))
    encoding = CHECKPOINT_NAMES.get(name, Encoding("json", ""))
    for refs in catalog.segments.values():
        for ref in reversed(refs):
            with suppress(AtlasError):
                blocks = load_segment(storage, ref)[0].blocks
                if len(blocks) and int(blocks.codec.max()):
                    return StoreConfig(_CODECS[int(blocks.codec.max())], "auto", encoding)
    return StoreConfig("zstd", "auto", encoding)


def _leftover(storage: Storage, found: Survey, catalog: Catalog | None) -> int | None:
    """Return the number of files that no version names."""
    if catalog is None or catalog.version < found.last:
        return None
    try:
        keys = {key for folder in ("arrays", "bases", "pages", "commits") for key in storage.list(folder)}
        return len(keys - found.keys) + len(storage.leftovers())
    except StorageError:
        return None
