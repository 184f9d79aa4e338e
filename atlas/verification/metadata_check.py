"""Checks the documents of a store and builds the latest version that they still give.

A version is built twice: from the checkpoint and the commits after it, and from the base and every commit since. Where
the two differ the checkpoint is damaged; where a damaged document stops one of them the other serves.

Reads all documents, those of the history too. Notes damage and never raises it. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.catalog import Catalog
from atlas.errors import CorruptStoreError, StoreNotFoundError
from atlas.format.attribute_codec import encoded_text
from atlas.format.bases import BaseRef
from atlas.format.changes import Changes
from atlas.format.config import PACK_COMMITS
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.format.packs import pack_key, run_of
from atlas.verification.document_check import CommitDocument, DocumentCheck, StateDocument
from atlas.verification.page_recovery import recover_page, without_pages

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from atlas.format.changes import PageRef
    from atlas.format.config import StoreConfig
    from atlas.format.versions import EarlierVersion
    from atlas.storage import Storage
    from atlas.verification.findings import Findings

__all__ = ["Metadata", "check_metadata"]

_MOST_MISSING = 1000
"""Missing commits in a row that are reported one by one; a damaged document may claim any version."""


@dataclass(slots=True)
class _Replay:
    """A catalog to which commits are applied, one after the other, until one cannot be."""

    catalog: Catalog
    """The version built so far."""
    lost: Sequence[PageRef] = ()
    """Damaged pages, whose datasets are not all in `catalog`."""
    stuck: bool = False
    """Whether a commit is missing or damaged, so that no later version can be built."""

    def apply(self, commit: CommitDocument | None) -> str | None:
        """Apply the next commit, None for one that cannot be read; return what is wrong where it does not apply."""
        if commit is not None and commit.changes.reset and self.stuck:  # it replaces all that was before
            self.catalog, self.lost, self.stuck = Catalog(), (), False
        if self.stuck:
            return None
        try:
            if commit is None:
                self.stuck = True
            else:
                changes = without_pages(commit.changes, self.lost) if self.lost else commit.changes
                self.catalog.apply(changes, commit.page_rows)
        except CorruptStoreError as error:
            self.stuck = True
            return str(error)
        return None


@dataclass(slots=True)
class Metadata:
    """What the documents of a store give."""

    catalog: Catalog | None
    """The version asked for, or the latest before it that can be opened; None where none can."""
    from_commits: Catalog | None
    """The last version, built from the base and every commit since; None where one of them is missing or damaged."""
    config: StoreConfig | None
    """Configuration that `create` chose; None where no document has it."""
    identity: str
    """Identity of the store."""
    created: dt.datetime | None
    """When the store was created; None where no document has it."""
    base: BaseRef
    """The version from which on all are kept."""
    earlier: frozenset[int]
    """Versions that are kept before it."""
    config_since: int
    """First version with `config`. It is after `base` where a store was replaced and its new base not yet written."""
    damaged_checkpoint: str | None
    """Key of the checkpoint if it is missing, damaged or not the sum of the commits."""
    last: int
    """The last version that a document names."""
    pack_commits: int
    """Number of commits of a pack, where a document does not say it by the packs."""
    keys: set[str]
    """Keys of the documents and of every file that they name."""

    def keeps(self, version: int) -> bool:
        """Return whether a version that was made is still kept."""
        return version >= self.base.version or version in self.earlier


def check_metadata(storage: Storage, findings: Findings, version: int | None = None) -> Metadata:
    """Read every document of the store up to `version`, by default the last, and note damage in `findings`.

    Raises `StoreNotFoundError` where there is no document, `UnsupportedFormatError` for a store of another format.
    """
    return _MetadataCheck(storage, findings, version).run()


class _MetadataCheck:
    """One pass over the documents."""

    def __init__(self, storage: Storage, findings: Findings, version: int | None) -> None:
        self._documents, self._findings, self._wanted = DocumentCheck(storage, findings), findings, version
        self._damaged_checkpoint: str | None = None  # its key
        self._config: StoreConfig | None = None
        self._encoding = Encoding("json", "")  # of the next commit
        self._created: dt.datetime | None = None
        self._base = BaseRef(0, None)
        self._earlier: frozenset[int] = frozenset()
        self._latest = self._config_since = -1  # the last version that a document names, and the first with this config
        self._commits: dict[int, str] | None = None  # keys of all commits by version, None where they cannot be listed
        self._packed: dict[int, tuple[str, bytes]] = {}  # key of the pack and bytes of the commit, by version
        self._pack_commits = PACK_COMMITS

    def run(self) -> Metadata:
        """Find the documents, replay the commits from the base and from the checkpoint, and compare the two."""
        checkpoint = self._read_checkpoint()
        self._commits = self._list_commits()
        self._read_packs()
        base = self._find_base(checkpoint)
        if checkpoint is None and self._damaged_checkpoint is None:
            if base is None and not self._commits:
                name = next(iter(CHECKPOINT_NAMES))
                raise StoreNotFoundError(f"there is no store at {self._documents.storage.describe}: it holds no {name}")
            self._damaged_checkpoint = self._encoding.checkpoint
            self._documents.note_missing(self._damaged_checkpoint)
        if base is not None:
            self._earlier = frozenset(kept.version.version for kept in base.earlier)
            for kept in base.earlier:
                self._check_earlier(kept)
        last = self._find_last(checkpoint, base)
        from_checkpoint = self._start_from_checkpoint(checkpoint, last)
        from_base = self._start_from_base(checkpoint, base)
        self._replay_commits(checkpoint, last, from_base, from_checkpoint)
        return self._result(from_checkpoint, from_base, last)

    def _replay_commits(
        self, checkpoint: StateDocument | None, last: int, from_base: _Replay, from_checkpoint: _Replay | None
    ) -> None:
        """Apply the commits up to `last`, and compare the checkpoint with their sum at its version."""
        missing = 0
        for version in range(self._base.version, last + 1):
            # The commit of the base is kept for its message; an empty store that was created as such has none.
            if version > self._base.version or self._base.key is not None or version in (self._commits or ()):
                missing = 0 if self._replay_commit(version, last, from_base, from_checkpoint) else missing + 1
            if missing > _MOST_MISSING:
                key, _ = self._commit_key(version + 1)
                self._documents.note_fault(key, f"it is missing, and all commits up to version {last} are")
                return
            if checkpoint is not None and version == checkpoint.changes.version:
                self._compare(checkpoint.key, from_checkpoint, from_base)

    def _replay_commit(self, version: int, last: int, from_base: _Replay, from_checkpoint: _Replay | None) -> bool:
        """Apply the commit of a version where it is the next one, and return whether it could be read."""
        key, encoding = self._commit_key(version)
        both = [from_base] if from_checkpoint is None else [from_base, from_checkpoint]
        replays = [replay for replay in both if replay.stuck or replay.catalog.version < version]
        # The commit that made the base is kept, but not its pages, where the base has them in others.
        commit = self._read_commit(key, encoding, version, last, with_pages=bool(replays))
        if commit is not None:
            if self._documents.identity not in {None, commit.identity}:  # it created a store in place of a damaged one
                self._base, self._created = BaseRef(version, None), commit.time
            self._documents.identity = commit.identity
            if commit.config is not None:
                self._config, self._encoding, self._config_since = commit.config, commit.config.encoding, version
            self._created = self._created or commit.time
        for replay in replays:
            fault = replay.apply(commit)
            if fault is not None:
                self._documents.note_fault(key, fault)
        return commit is not None

    def _result(self, from_checkpoint: _Replay | None, from_base: _Replay, last: int) -> Metadata:
        best = self._best(from_checkpoint, from_base, last)
        for page in best.lost if best is not None else ():
            self._findings.extend(page.key, f"; of its {page.rows:,} datasets only those changed later are known")
        begin = last if best is None else best.catalog.version + 1
        if begin <= last:
            what = f"; version{'' if begin == last else f's {begin} to'} {last} cannot be opened"
            self._findings.extend(self._commit_key(begin)[0], what)
        complete = not from_base.stuck and from_base.catalog.version == last
        return Metadata(
            catalog=None if best is None else best.catalog,
            from_commits=from_base.catalog if complete else None,
            config=self._config,
            identity=self._documents.identity or "",
            created=self._created,
            base=self._base,
            earlier=self._earlier,
            config_since=max(self._config_since, self._base.version),
            damaged_checkpoint=self._damaged_checkpoint,
            last=self._latest,
            pack_commits=self._pack_commits,
            keys=self._documents.keys,
        )

    def _best(self, from_checkpoint: _Replay | None, from_base: _Replay, last: int) -> _Replay | None:
        """Return the replay that leads furthest, and of two that lead equally far the one that lacks no page."""
        replays = [one for one in (from_checkpoint, from_base) if one is not None and one.catalog.version >= 0]
        if self._wanted is not None:
            replays = [one for one in replays if one.catalog.version <= last]
        return max(replays, key=lambda one: (one.catalog.version, not one.lost), default=None)

    # Finding documents

    def _read_checkpoint(self) -> StateDocument | None:
        """Return the checkpoint; of two that are undamaged, the one of the later version."""
        found = []
        for name, encoding in CHECKPOINT_NAMES.items():
            if self._documents.read_file(name) is None:
                continue
            checkpoint = self._documents.read_state(name, encoding)
            if checkpoint is None:
                self._damaged_checkpoint, self._encoding = name, encoding
            else:
                found.append(checkpoint)
        if not found:
            return None
        best = max(found, key=lambda checkpoint: checkpoint.changes.version)
        self._damaged_checkpoint = None
        self._take_facts(best)
        return best

    def _take_facts(self, document: StateDocument) -> None:
        """Take the configuration and identity of the store from a checkpoint or base."""
        self._config, self._encoding = document.config, document.config.encoding
        self._documents.identity, self._created = document.identity, document.created

    def _list_commits(self) -> dict[int, str] | None:
        """Return the keys of all commits by version; of two of one version, the one in the encoding of the store."""
        keys = self._documents.list_folder("commits")
        if keys is None:
            return None
        found: dict[int, str] = {}
        for key in keys:
            number, _, extension = key.removeprefix("commits/").partition(".")
            known = any(encoding.extension == f".{extension}" for encoding in CHECKPOINT_NAMES.values())
            if len(number) != 20 or not number.isdecimal() or not known:
                continue
            if int(number) not in found or f".{extension}" == self._encoding.extension:
                found[int(number)] = key
        if found and self._documents.identity is None and self._damaged_checkpoint is None:
            extension = found[max(found)][len("commits/") + 20 :]
            self._encoding = next(some for some in CHECKPOINT_NAMES.values() if some.extension == extension)
        return found

    def _read_packs(self) -> None:
        """Read all packs. Their commits count, whatever is under keys of the commits' own."""
        for key in self._documents.list_folder("packs") or ():
            number, _, extension = key.removeprefix("packs/").partition(".")
            known = any(encoding.compressed().extension == f".{extension}" for encoding in CHECKPOINT_NAMES.values())
            if len(number) == 20 and number.isdecimal() and known:
                self._read_pack(key, int(number))

    def _read_pack(self, key: str, last: int) -> None:
        pack = self._documents.read_pack(key, last)
        if pack is not None:
            self._pack_commits = pack.size
            self._packed |= {version: (key, data) for version, data in zip(pack.versions, pack.documents, strict=True)}
            if self._commits is not None:
                self._commits |= dict.fromkeys(pack.versions, key)

    def _commit_key(self, version: int) -> tuple[str, Encoding]:
        """Return the key and encoding of a commit: those of the commits before it, unless only another one exists.

        The key is that of its pack where that holds it.
        """
        if self._commits is None and self._config is not None:  # packs could not be listed either
            key = pack_key(self._config, version)
            if key not in self._documents.keys and self._documents.read_file(key) is not None:
                self._read_pack(key, run_of(self._config, version)[-1])
        if version in self._packed:
            return self._packed[version][0], self._encoding
        key = f"commits/{version:020d}{self._encoding.extension}"
        listed = (self._commits or {}).get(version, key)
        if listed == key:
            return key, self._encoding
        extension = listed[len("commits/") + 20 :]
        return listed, next(some for some in CHECKPOINT_NAMES.values() if some.extension == extension)

    def _read_commit(
        self, key: str, encoding: Encoding, version: int, last: int, *, with_pages: bool
    ) -> CommitDocument | None:
        if self._commits is not None and version not in self._commits:
            if self._config is not None:
                run, pack = run_of(self._config, version), pack_key(self._config, version)
                if pack in self._documents.keys:  # it is damaged
                    return None
                if run[-1] <= last and self._commits.keys().isdisjoint(run):  # they were gathered
                    key = pack
            self._documents.note_missing(key, f", while there is a version {last}" if version < last else "")
            return None
        data = self._packed[version][1] if version in self._packed else None
        return self._documents.read_commit(key, encoding, version, with_pages=with_pages, packed=data)

    def _find_base(self, checkpoint: StateDocument | None) -> StateDocument | None:
        """Return the base (the version from which on all are kept), None where it is empty or cannot be read."""
        links = self._read_links(checkpoint)
        if checkpoint is not None:
            # Each link leads to a later version, so the current base is the latest one.
            ahead = [link[1] for link in links.values() if link[1].version > checkpoint.base.version]
            self._base = max(ahead, key=lambda base: base.version, default=checkpoint.base)
        elif links:
            self._documents.identity, self._base = max(links.values(), key=lambda link: link[1].version)
        elif self._commits:
            # Without a link no version was removed: the store was empty before its first commit.
            self._base = BaseRef(max(min(self._commits) - 1, 0), None)
        if self._base.key is None:
            return None
        base = self._documents.read_base(self._base.key)
        if base is not None and (checkpoint is None or checkpoint.changes.version < base.changes.version):
            self._take_facts(base)
        if base is not None and base.changes.version != self._base.version:
            self._documents.note_fault(base.key, f"it is of version {base.changes.version}, not {self._base.version}")
            return None
        return base

    def _check_earlier(self, kept: EarlierVersion) -> None:
        """Read the document of an earlier version, and its pages."""
        document, number = self._documents.read_base(kept.key), kept.version.version
        if document is None:
            self._findings.extend(kept.key, f"; version {number} cannot be opened")
        elif document.changes.version != number:
            self._documents.note_fault(kept.key, f"it is of version {document.changes.version}, not {number}")
        else:
            self._documents.read_pages(kept.key, document.changes, document.config.encoding)

    def _read_links(self, checkpoint: StateDocument | None) -> dict[int, tuple[str, BaseRef]]:
        """Return the identity and base that each link names, by the version that it leads from."""
        listed = self._documents.list_folder("bases")
        if listed is not None:
            names = [key.removeprefix("bases/").removesuffix(".json") for key in listed]
            numbers = [int(name) for name in names if len(name) == 20 and name.isdecimal()]
            # Links of a store that was damaged and then replaced are left over, and have another identity.
            found = {number: self._documents.read_link(number, None) for number in numbers}
            identity = None if checkpoint is None else checkpoint.identity
            return {number: link for number, link in found.items() if link is not None and identity in {None, link[0]}}
        links: dict[int, tuple[str, BaseRef]] = {}
        at = -1 if checkpoint is None else checkpoint.base.version
        while at >= 0 and self._documents.read_file(f"bases/{at:020d}.json") is not None:
            link = self._documents.read_link(at, checkpoint and checkpoint.identity)
            if link is None:
                break
            links[at] = link
            at = link[1].version
        return links

    def _find_last(self, checkpoint: StateDocument | None, base: StateDocument | None) -> int:
        """Return the version that is wanted, else the last one that a document names."""
        known = [self._base.version, *(some.changes.version for some in (checkpoint, base) if some is not None)]
        if self._commits is None:
            last = max(known)
            while self._documents.read_file(self._commit_key(last + 1)[0]) is not None:
                last += 1
        else:
            last = max([*known, *self._commits])
        self._latest = last
        return last if self._wanted is None else self._wanted

    # Where replays start

    def _start_from_base(self, checkpoint: StateDocument | None, base: StateDocument | None) -> _Replay:
        """Return a replay at the base, an empty catalog where the store has kept all versions."""
        catalog = Catalog()
        if base is not None:
            pages = self._documents.read_pages(base.key, base.changes, base.config.encoding)
            rows = [page for page in pages if page is not None]
            if len(rows) < len(pages):
                return _Replay(catalog, stuck=True)
            try:
                catalog.apply(base.changes, rows)
            except CorruptStoreError as error:
                self._documents.note_fault(base.key, str(error))
                return _Replay(Catalog(), stuck=True)
            self._encoding = base.config.encoding
            return _Replay(catalog)
        # The base is damaged, or the first commit is not number 1, which shows that those before it are gone: only a
        # commit that resets the store gives a version then.
        if self._base.key is not None or (checkpoint is None and (self._base.version > 0 or self._latest < 1)):
            return _Replay(catalog, stuck=True)
        catalog.apply(Changes(self._base.version, 0), [])
        return _Replay(catalog)

    def _start_from_checkpoint(self, checkpoint: StateDocument | None, last: int) -> _Replay | None:
        """Return a replay at the checkpoint, without the lost datasets of pages that cannot be read.

        None where its version is after `last`, or before the base: a writer that was suspended may have put an old
        checkpoint in place.
        """
        if checkpoint is None or not self._base.version <= checkpoint.changes.version <= last:
            return None
        key, changes = checkpoint.key, checkpoint.changes
        pages = self._documents.read_pages(key, changes, checkpoint.config.encoding)
        lost = [page for page, rows in zip(changes.pages, pages, strict=True) if rows is None]
        catalog = Catalog()
        try:
            if lost:
                self._damaged_checkpoint = key
                known = [changes, *self._commits_after(changes.version, last)]
                pages = [
                    recover_page(page, known) if rows is None else rows
                    for page, rows in zip(changes.pages, pages, strict=True)
                ]
                changes = without_pages(changes, lost)
            catalog.apply(changes, [rows for rows in pages if rows is not None])
            _ = catalog.row_by_name  # raises where two datasets have one name
        except CorruptStoreError as error:
            self._documents.note_fault(key, str(error))
            self._damaged_checkpoint = key
            return None
        return _Replay(catalog, lost)

    def _commits_after(self, version: int, last: int) -> Iterator[Changes]:
        """Yield the changes of the commits after `version`, up to the first that cannot be read."""
        for number in range(version + 1, last + 1):
            commit = self._read_commit(*self._commit_key(number), number, last, with_pages=True)
            if commit is None:
                return
            yield commit.changes

    def _compare(self, key: str, from_checkpoint: _Replay | None, from_base: _Replay) -> None:
        """Note a checkpoint that is not the sum of the commits, and build on the commits alone from then on."""
        if from_checkpoint is None or from_checkpoint.lost or from_base.stuck:
            return
        what = f"it is not the sum of the commits up to version {from_checkpoint.catalog.version}"
        try:
            if _is_same(from_checkpoint.catalog, from_base.catalog):
                return
        except CorruptStoreError as error:
            what = str(error)
        self._documents.note_fault(key, what)
        self._damaged_checkpoint, from_checkpoint.stuck = key, True


def _is_same(one: Catalog, two: Catalog) -> bool:
    """Return whether both hold the same datasets, arrays, attributes and segments."""
    if one.next_id != two.next_id or one.segments != two.segments or len(one) != len(two):
        return False
    first, second = one.rows(one.live_rows()), two.rows(two.live_rows())
    if first.names != second.names or not np.array_equal(first.ids, second.ids):
        return False
    pairs = np.unique(np.stack([first.layouts, second.layouts]), axis=1).T.tolist()
    if any(first.layout_table[a] != second.layout_table[b] for a, b in pairs):
        return False
    one_table, two_table = first.attribute_table, second.attribute_table
    own = (first.attributes, one_table.sets, second.attributes, two_table.sets)
    of_arrays = (first.array_attributes, one_table.array_sets, second.array_attributes, two_table.array_sets)
    for mine, my_sets, others, other_sets in (own, of_arrays):
        pairs = np.unique(np.stack([mine, others]), axis=1).T.tolist()
        texts = (
            (encoded_text(one_table.resolve(my_sets[a])), encoded_text(two_table.resolve(other_sets[b])))
            for a, b in pairs
        )
        if any(a != b for a, b in texts):
            return False
    return True
