"""Verifies a store: reads every document, index, block and chunk, and compares it with what the store says of it.

Changes nothing on the way. On request it writes a damaged checkpoint anew, where everything in it is known from
elsewhere, and exports what is whole to a new store. Damage is reported, never raised.
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
from atlas.format.block_types import CODECS
from atlas.format.changes import Changes
from atlas.format.config import StoreConfig
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.runtime.limits import DEFAULT, Limits
from atlas.session import Session
from atlas.verification.export import export_whole
from atlas.verification.findings import Findings
from atlas.verification.metadata_check import Metadata, check_metadata
from atlas.verification.progress import showing_progress
from atlas.verification.report import VerifyReport
from atlas.verification.segment_check import check_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.storage import Storage
    from atlas.verification.progress import Progress

__all__ = ["KnownVersion", "verify_storage"]

_TRIES = 3
"""How often the latest version is read where another process compacts the store meanwhile."""


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """The committed version that an open handle shows, in case the documents that hold it are damaged."""

    catalog: Catalog
    """A copy of the catalog, of committed datasets alone."""
    log: CommitLog
    """A copy of the commit log."""

    @classmethod
    def of(cls, catalog: Catalog, log: CommitLog) -> KnownVersion:
        """Copy what a handle knows. The caller must hold the lock that guards both."""
        segments = tuple(ref for refs in catalog.segments.values() for ref in refs)
        rows = catalog.rows(catalog.live_rows())
        copied = Catalog()
        changes = Changes(catalog.version, catalog.next_id, rows=rows, segments=segments, writers=catalog.writers)
        copied.apply(changes, [])
        return cls(copied, copy(log))


def verify_storage(
    storage: Storage,
    known: KnownVersion | None = None,
    *,
    repair: bool,
    target: Storage | None,
    progress: Progress,
    limits: Limits = DEFAULT,
) -> VerifyReport:
    """Verify the version `known`, by default the latest of the store, which need not open.

    `repair` writes a damaged checkpoint anew; what is whole is exported to `target`, if given; for `progress` see
    `showing_progress`. `limits` are those that the store was written with.

    Raises `StoreNotFoundError` where there is no store, `UnsupportedFormatError` for one of another format,
    `StoreExistsError` where `target` holds one, and `StaleHandleError` where another process removes files of the
    version.
    """
    if target is not None and _read_checkpoints(target):
        raise StoreExistsError(
            f"there is a store at {target.describe} already; export to a location where there is none"
        )
    with showing_progress(progress, "verify") as report_progress:
        findings, metadata, catalog = _check(storage, known, report_progress, limits)
    repaired = _repair_checkpoint(storage, metadata, known) if repair else ()
    left_out: list[tuple[str, str]] = []
    if target is not None and catalog is not None:
        created = create_store(target, _config(storage, catalog, metadata, known), overwrite=False)
        left_out = export_whole(storage, catalog, findings.broken, findings.lost, Session(*created))
    return VerifyReport(
        store=storage.describe,
        version=-1 if catalog is None else catalog.version,
        damage=tuple(findings.damage),
        files=findings.files,
        blocks=findings.blocks,
        chunks=findings.chunks,
        bytes=findings.bytes,
        datasets=0 if catalog is None else len(catalog),
        orphans=_count_orphans(storage, metadata, catalog),
        repaired=repaired,
        exported=None if target is None or catalog is None else target.describe,
        left_out=tuple(left_out),
    )


def _check(
    storage: Storage,
    known: KnownVersion | None,
    report_progress: Callable[[int, int], object] | None,
    limits: Limits,
) -> tuple[Findings, Metadata, Catalog | None]:
    """Read everything, again where another process removed files meanwhile; None for no version that can be opened."""
    for _ in range(_TRIES):
        before = _read_checkpoints(storage)
        findings = Findings(report_progress, limits)
        metadata = check_metadata(storage, findings, None if known is None else known.catalog.version)
        catalog = metadata.catalog
        if known is not None and (catalog is None or catalog.version != known.catalog.version):
            catalog = known.catalog
        if catalog is None:
            _refuse_other_formats(storage)
            return findings, metadata, None
        findings.catalog = catalog
        findings.total = findings.bytes + sum(ref.size for refs in catalog.segments.values() for ref in refs)
        for array, refs in sorted(catalog.segments.items()):
            check_array(storage, catalog, array, refs, findings)
        is_stale = known is not None and not metadata.keeps(known.catalog.version)
        if not findings.missing or (_read_checkpoints(storage) == before and not is_stale):
            return findings, metadata, catalog
        if is_stale:
            break
    raise StaleHandleError(
        f"files of the store at {storage.describe} were removed while it was verified, as another process compacts or "
        "replaces it: open it again, and verify it then"
    )


def _read_checkpoints(storage: Storage) -> list[bytes]:
    found = []
    for name in CHECKPOINT_NAMES:
        with suppress(FileNotFoundError, StorageError):
            found.append(storage.read(name))
    return found


def _refuse_other_formats(storage: Storage) -> None:
    """Raise `UnsupportedFormatError` where opening the store raises it."""
    try:
        CommitLog.open(storage)
    except UnsupportedFormatError:
        raise
    except AtlasError:
        return


def _repair_checkpoint(storage: Storage, metadata: Metadata, known: KnownVersion | None) -> tuple[str, ...]:
    """Write a damaged checkpoint anew where all that it held is known, and return what was repaired."""
    key = metadata.damaged_checkpoint
    if key is None:
        return ()
    if metadata.from_commits is not None:
        catalog, origin = metadata.from_commits, "the commits"
        config = _config(storage, catalog, metadata, known)
        created = metadata.created or dt.datetime.now(dt.UTC)
        log = CommitLog(storage, config, metadata.identity, metadata.base, created)
        log.config_since = metadata.config_since
    elif known is not None and known.catalog.version == metadata.last:
        catalog, origin, log = known.catalog, "what this handle holds", copy(known.log)
    else:
        return ()
    if not CommitWriter(log).checkpoint(catalog, force=True):
        raise StorageError(f"{key} is damaged and could not be written anew; {storage.describe} takes no files")
    return (f"{log.config.encoding.checkpoint}, written anew from {origin} up to version {catalog.version}",)


def _config(storage: Storage, catalog: Catalog, metadata: Metadata, known: KnownVersion | None) -> StoreConfig:
    """Return the configuration of the store; where no document has it, with the codec of the newest blocks."""
    if metadata.config is not None:
        return metadata.config
    if known is not None:
        return known.log.config
    name = metadata.damaged_checkpoint or next(iter(CHECKPOINT_NAMES))
    encoding = CHECKPOINT_NAMES.get(name, Encoding("json", ""))
    return StoreConfig(_newest_codec(storage, catalog), "auto", encoding, metadata.pack_commits)


def _newest_codec(storage: Storage, catalog: Catalog) -> str:
    """Return the codec of the newest compressed blocks, zstd where there are none."""
    codec_names = {number: name for name, number in CODECS.items()}
    for refs in catalog.segments.values():
        for ref in reversed(refs):
            with suppress(AtlasError):
                blocks = load_segment(storage, ref)[0].blocks
                if len(blocks) and int(blocks.codec.max()):
                    return codec_names[int(blocks.codec.max())]
    return "zstd"


def _count_orphans(storage: Storage, metadata: Metadata, catalog: Catalog | None) -> int | None:
    """Return the number of files that no version names, None where that cannot be known."""
    if catalog is None or catalog.version < metadata.last:
        return None
    try:
        keys = {key for folder in ("arrays", "bases", "pages", "commits", "packs") for key in storage.list(folder)}
        return len(keys - metadata.keys) + len(storage.list_orphans())
    except StorageError:
        return None
