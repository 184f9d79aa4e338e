"""Packs: the commits of a run of versions, gathered in one document by a compaction, which then removes their files.

The number of a commit gives the key of its pack, so that every handle, however old, finds out with one read. Where a
pack exists, it alone tells what its versions are: a late writer may find the number of a removed commit free, and take
it. So a commit under a key of its own counts only if its pack is looked for *afterwards* and does not exist.

A pack is created only if absent, from commits that never change: whichever process creates it, it holds the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.commit.documents import decode_document, try_read
from atlas.errors import CorruptStoreError
from atlas.format.commit_header import header_from_json
from atlas.format.packs import Pack, pack_from_json, pack_key, pack_to_json, run_of
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from atlas.commit.commit_log import CommitLog

__all__ = ["gather_commits", "packed_commits", "read_pack"]


def packed_commits(log: CommitLog, versions: Iterable[int]) -> dict[int, tuple[str, bytes]]:
    """Return the commits that the packs of some versions hold, by version: the key of the pack, and its document.

    Other versions of the same packs are among them. Raises `CorruptStoreError` where a pack is damaged.
    """
    size = log.config.pack_commits
    runs = sorted({(version - 1) // size for version in versions if version > 0})
    found: dict[int, tuple[str, bytes]] = {}
    for pack in run_all(lambda run: read_pack(log, run * size + 1), runs):
        if pack is not None:
            key = pack_key(log.config, pack.first)
            found |= {version: (key, data) for version, data in zip(pack.versions, pack.documents, strict=True)}
    return found


def read_pack(log: CommitLog, version: int) -> Pack | None:
    """Return the pack that holds the commit of a version, None where there is none.

    Raises `CorruptStoreError` where it is damaged, and `ConflictError` where it belongs to another store.
    """
    key = pack_key(log.config, version)
    data = try_read(log.storage, key)
    if data is None:
        return None
    encoding, last = log.config.encoding.compressed(), run_of(log.config, version)[-1]
    document, pack = decode_document(key, data, encoding, lambda document: pack_from_json(document, last))
    if document.get("store") != log.identity:
        raise log.replaced()
    if pack.size != log.config.pack_commits:
        raise CorruptStoreError(f"{key} is damaged: it is a pack of {pack.size}; restore it from a copy", key=key)
    return pack


def gather_commits(log: CommitLog, listed: Sequence[str], last: int) -> list[str]:
    """Write packs of the commits after the base up to version `last`, and return the keys that these make needless.

    `listed` are the keys of the commits that exist. Only whole runs are gathered, so that each commit is written once
    more. Raises `StorageError`, and `CorruptStoreError` where a commit or pack is damaged.
    """
    needless: list[str] = []
    singles: dict[int, list[str]] = {}
    for key in listed:
        number = key.rpartition("/")[2].partition(".")[0]
        if number.isdecimal():
            singles.setdefault(int(number), []).append(key)
    base = log.find_base().version
    for begin in sorted({run_of(log.config, version).start for version in singles if base < version <= last}):
        run = run_of(log.config, begin)
        if run[-1] > last:
            break
        pack = read_pack(log, begin) or _create_pack(log, max(begin, base + 1), run)
        if pack is not None:
            needless += [key for version in pack.versions for key in singles.get(version, ())]
    return needless


def _create_pack(log: CommitLog, first: int, run: range) -> Pack | None:
    """Create the pack of a run, of its commits from `first` on; None where another process removes them meanwhile."""
    versions = range(first, run.stop)
    found = run_all(lambda version: try_read(log.storage, log.commit_key(version)), versions)
    documents = []
    for version, data in zip(versions, found, strict=True):
        key = log.commit_key(version)
        if data is None:
            return read_pack(log, first)
        document, header = decode_document(key, data, log.config.encoding, header_from_json)
        if document.get("store") != log.identity or header.version != version:
            raise CorruptStoreError(f"{key} is damaged: it does not make version {version}; restore it", key=key)
        documents.append(log.config.encoding.expand(data))
    if log.find_base().version >= first:
        return None  # late writers may have taken numbers before the base
    key, pack = pack_key(log.config, first), Pack(log.config.pack_commits, first, tuple(documents))
    document = pack_to_json(pack, log.identity, log.config)
    return pack if log.storage.create(key, log.config.encoding.compressed().encode(document)) else read_pack(log, first)
