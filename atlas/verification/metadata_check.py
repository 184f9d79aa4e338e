"""What can still be known of a store from its documents, and how.

Two ways lead to a version: from the checkpoint, and from the base through every commit. Both are gone, which also finds
where they disagree; where one is barred the other serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.catalog import Catalog
from atlas.errors import CorruptStoreError, StoreNotFoundError
from atlas.format.bases import BaseRef
from atlas.format.changes import Changes
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.verification.document_check import CommitDocument, Perusal, SumDocument
from atlas.verification.page_recovery import salvage_page, without_ids

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from atlas.format.changes import PageRef
    from atlas.format.config import StoreConfig
    from atlas.storage import Storage
    from atlas.verification.findings import Findings

__all__ = ["Survey", "survey"]

_MOST_LOST = 1000
"""Commits that are missing one after the other and are told one by one."""


@dataclass(slots=True)
class _Way:
    """A catalog that goes from version to version, until it can go no further."""

    catalog: Catalog
    lost: Sequence[PageRef] = ()
    stuck: bool = False

    def follow(self, commit: CommitDocument | None) -> str | None:
        """Apply the next commit, None where it cannot be read; return what is wrong with it if it cannot be."""
        if commit is not None and commit.changes.reset and self.stuck:  # whatever was before is forgotten
            self.catalog, self.lost, self.stuck = Catalog(), (), False
        if self.stuck:
            return None
        try:
            if commit is None:
                self.stuck = True
            else:
                changes = without_ids(commit.changes, self.lost) if self.lost else commit.changes
                self.catalog.apply(changes, commit.page_rows)
        except CorruptStoreError as error:
            self.stuck = True
            return str(error)
        return None


@dataclass(slots=True)
class Survey:
    """What the documents of a store say."""

    catalog: Catalog | None
    """The version asked for, or the last before it that can be opened; None where none can."""
    added_up: Catalog | None
    """The last version, added up from the base commit by commit; None where that cannot be done."""
    config: StoreConfig | None
    """What `create` decided; None where no document tells."""
    identity: str
    """Name of the store."""
    created: dt.datetime | None
    """When it was made; None where no document tells."""
    base: BaseRef
    """The oldest version that is kept."""
    began: int
    """Version since which `config` holds: a store that replaced another may have been cut off before it had a base."""
    bad_checkpoint: str | None
    """Key of the checkpoint where that is missing, damaged or not the sum of the commits."""
    last: int
    """The last version of which a document tells."""
    keys: set[str]
    """Every file that a document names, and the documents."""


def survey(storage: Storage, findings: Findings, version: int | None = None) -> Survey:
    """Read every document of the store up to the version named, those of its history too.

    Raises `StoreNotFoundError` where there is no document, `UnsupportedFormatError` for a store of another format.
    """
    return _Surveyor(storage, findings, version).run()


class _Surveyor:
    """One pass over the documents."""

    def __init__(self, storage: Storage, findings: Findings, version: int | None) -> None:
        self._perusal, self._findings, self._wanted = Perusal(storage, findings), findings, version
        self._bad: str | None = None  # key of a checkpoint that is not as it should be
        self._config: StoreConfig | None = None
        self._encoding = Encoding("json", "")  # of the next commit
        self._created: dt.datetime | None = None
        self._base = BaseRef(0, None)
        self._latest = self._began = -1
        self._commits: dict[int, str] | None = None  # keys of all commits, None where they cannot be listed

    def run(self) -> Survey:
        """Go both ways."""
        checkpoint = self._checkpoint()
        self._commits = self._list_commits()
        base = self._find_base(checkpoint)
        if checkpoint is None and self._bad is None:
            if base is None and not self._commits:
                name = next(iter(CHECKPOINT_NAMES))
                raise StoreNotFoundError(f"there is no store at {self._perusal.storage.describe}: it holds no {name}")
            self._bad = self._encoding.checkpoint
            self._perusal.missing(self._bad)
        last = self._last(checkpoint, base)
        direct = self._direct(checkpoint, last)
        added_up = self._start(checkpoint, base)
        lost = 0
        for number in range(self._base.version, last + 1):
            # What made the base is kept beside it, for people; an empty store that was made as such has no commit.
            if number > self._base.version or self._base.key is not None or number in (self._commits or ()):
                lost = 0 if self._step(number, last, added_up, direct) else lost + 1
            if lost > _MOST_LOST:  # a document may claim any version
                self._perusal.fault(
                    self._commit_file(number + 1)[0], f"it is missing, and all commits up to version {last} are"
                )
                break
            if checkpoint is not None and number == checkpoint.changes.version:
                self._compare(checkpoint.key, direct, added_up)
        return self._concluded(direct, added_up, last)

    def _step(self, number: int, last: int, added_up: _Way, direct: _Way | None) -> bool:
        """Go one commit further on both ways, and return whether there is one."""
        key, encoding = self._commit_file(number)
        commit = self._commit(key, encoding, number, last)
        if commit is not None:
            if self._perusal.identity not in {None, commit.identity}:  # made in place of a store that was damaged
                self._base, self._created = BaseRef(number, None), commit.time
            self._perusal.identity = commit.identity
            if commit.config is not None:
                self._config, self._encoding, self._began = commit.config, commit.config.encoding, number
            self._created = self._created or commit.time
        for way in (added_up, direct):
            if way is not None and (way.stuck or way.catalog.version < number):
                fault = way.follow(commit)
                if fault is not None:
                    self._perusal.fault(key, fault)
        return commit is not None

    def _concluded(self, direct: _Way | None, added_up: _Way, last: int) -> Survey:
        ways = [way for way in (direct, added_up) if way is not None and way.catalog.version >= 0]
        if self._wanted is not None:
            ways = [way for way in ways if way.catalog.version <= last]
        # Of two that lead equally far the one that lacks no page.
        best = max(ways, key=lambda way: (way.catalog.version, not way.lost), default=None)
        for page in best.lost if best is not None else ():
            self._findings.extend(page.key, f"; of its {page.rows:,} datasets only those changed later are known")
        begin = last if best is None else best.catalog.version + 1
        if begin <= last:
            what = f"; version{'' if begin == last else f's {begin} to'} {last} cannot be opened"
            self._findings.extend(self._commit_file(begin)[0], what)
        whole = not added_up.stuck and added_up.catalog.version == last
        return Survey(
            None if best is None else best.catalog,
            added_up.catalog if whole else None,
            self._config,
            self._perusal.identity or "",
            self._created,
            self._base,
            max(self._began, self._base.version),
            self._bad,
            self._latest,
            self._perusal.keys,
        )

    # Finding documents

    def _checkpoint(self) -> SumDocument | None:
        """Return the checkpoint that holds: where two are whole, that of the later version."""
        found = []
        for name, encoding in CHECKPOINT_NAMES.items():
            if self._perusal.load(name) is None:
                continue
            checkpoint = self._perusal.read_sum(name, encoding)
            if checkpoint is None:
                self._bad, self._encoding = name, encoding
            else:
                found.append(checkpoint)
        if not found:
            return None
        best = max(found, key=lambda checkpoint: checkpoint.changes.version)
        self._bad = None
        self._know(best)
        return best

    def _know(self, document: SumDocument) -> None:
        self._config, self._encoding = document.config, document.config.encoding
        self._perusal.identity, self._created = document.identity, document.created

    def _list_commits(self) -> dict[int, str] | None:
        """Return the keys of all commits by version; where two have one, that in the encoding of the store."""
        keys = self._perusal.list_folder("commits")
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
        if found and self._perusal.identity is None and self._bad is None:
            extension = found[max(found)][len("commits/") + 20 :]
            self._encoding = next(some for some in CHECKPOINT_NAMES.values() if some.extension == extension)
        return found

    def _commit_file(self, number: int) -> tuple[str, Encoding]:
        """Return the key of a commit and how it is written: as those before it, unless there is only another."""
        key = f"commits/{number:020d}{self._encoding.extension}"
        listed = (self._commits or {}).get(number, key)
        if listed == key:
            return key, self._encoding
        extension = listed[len("commits/") + 20 :]
        return listed, next(some for some in CHECKPOINT_NAMES.values() if some.extension == extension)

    def _commit(self, key: str, encoding: Encoding, number: int, last: int) -> CommitDocument | None:
        if self._commits is not None and number not in self._commits:
            self._perusal.missing(key, f", while there is a version {last}" if number < last else "")
            return None
        return self._perusal.read_commit(key, encoding, number)

    def _find_base(self, checkpoint: SumDocument | None) -> SumDocument | None:
        """Return the document of the oldest version that is kept, None where that is empty or cannot be read."""
        links = self._links(checkpoint)
        if checkpoint is not None:
            # One link leads to the next, and each to a later version: the last is that of the latest.
            ahead = [link[1] for link in links.values() if link[1].version > checkpoint.base.version]
            self._base = max(ahead, key=lambda base: base.version, default=checkpoint.base)
        elif links:
            self._perusal.identity, self._base = max(links.values(), key=lambda link: link[1].version)
        elif self._commits:
            # Without a link nothing was removed: the store began before its first commit, empty.
            self._base = BaseRef(max(min(self._commits) - 1, 0), None)
        if self._base.key is None:
            return None
        base = self._perusal.read_base(self._base.key)
        if base is not None and (checkpoint is None or checkpoint.changes.version < base.changes.version):
            self._know(base)
        if base is not None and base.changes.version != self._base.version:
            self._perusal.fault(base.key, f"it is of version {base.changes.version}, not {self._base.version}")
            return None
        return base

    def _links(self, checkpoint: SumDocument | None) -> dict[int, tuple[str, BaseRef]]:
        """Return what the links lead to, by the versions they lead from."""
        listed = self._perusal.list_folder("bases")
        if listed is not None:
            names = [key.removeprefix("bases/").removesuffix(".json") for key in listed]
            numbers = [int(name) for name in names if len(name) == 20 and name.isdecimal()]
            # Links of a store that was replaced after damage lead nowhere: they are of another name.
            found = {number: self._perusal.read_link(number, None) for number in numbers}
            identity = None if checkpoint is None else checkpoint.identity
            return {number: link for number, link in found.items() if link is not None and identity in {None, link[0]}}
        links: dict[int, tuple[str, BaseRef]] = {}
        at = -1 if checkpoint is None else checkpoint.base.version
        while at >= 0 and self._perusal.load(f"bases/{at:020d}.json") is not None:
            link = self._perusal.read_link(at, checkpoint and checkpoint.identity)
            if link is None:
                break
            links[at] = link
            at = link[1].version
        return links

    def _last(self, checkpoint: SumDocument | None, base: SumDocument | None) -> int:
        """Return the version that is wanted, else the last that documents tell of."""
        known = [self._base.version, *(some.changes.version for some in (checkpoint, base) if some is not None)]
        if self._commits is None:
            last = max(known)
            while self._perusal.load(self._commit_file(last + 1)[0]) is not None:
                last += 1
        else:
            last = max([*known, *self._commits])
        self._latest = last
        return last if self._wanted is None else self._wanted

    # Ways

    def _start(self, checkpoint: SumDocument | None, base: SumDocument | None) -> _Way:
        """Return the version that the store begins with."""
        catalog = Catalog()
        if base is not None:
            pages = self._perusal.contents(base.key, base.changes, base.config.encoding)
            rows = [page for page in pages if page is not None]
            if len(rows) < len(pages):
                return _Way(catalog, stuck=True)
            try:
                catalog.apply(base.changes, rows)
            except CorruptStoreError as error:
                self._perusal.fault(base.key, str(error))
                return _Way(Catalog(), stuck=True)
            self._encoding = base.config.encoding
            return _Way(catalog)
        # A number that is not 1 says that commits before it are gone, unless the first one is a beginning by itself.
        if self._base.key is not None or (checkpoint is None and (self._base.version > 0 or self._latest < 1)):
            return _Way(catalog, stuck=True)
        catalog.apply(Changes(self._base.version, 0), [])
        return _Way(catalog)

    def _direct(self, checkpoint: SumDocument | None, last: int) -> _Way | None:
        """Return the catalog of the checkpoint, without the datasets of pages that cannot be read.

        None where it is past what is wanted, or before the base: a writer that slept may put such a one in place.
        """
        if checkpoint is None or not self._base.version <= checkpoint.changes.version <= last:
            return None
        key, changes = checkpoint.key, checkpoint.changes
        pages = self._perusal.contents(key, changes, checkpoint.config.encoding)
        lost = [page for page, rows in zip(changes.pages, pages, strict=True) if rows is None]
        catalog = Catalog()
        try:
            if lost:
                self._bad = key
                known = [changes, *self._commits_after(changes.version, last)]
                pages = [
                    salvage_page(page, known) if rows is None else rows
                    for page, rows in zip(changes.pages, pages, strict=True)
                ]
                changes = without_ids(changes, lost)
            catalog.apply(changes, [rows for rows in pages if rows is not None])
            _ = catalog.row_by_name
        except CorruptStoreError as error:
            self._perusal.fault(key, str(error))
            self._bad = key
            return None
        return _Way(catalog, lost)

    def _commits_after(self, version: int, last: int) -> Iterator[Changes]:
        """Yield the commits after a version up to the first that cannot be read."""
        for number in range(version + 1, last + 1):
            commit = self._commit(*self._commit_file(number), number, last)
            if commit is None:
                return
            yield commit.changes

    def _compare(self, key: str, direct: _Way | None, added_up: _Way) -> None:
        """Note where a checkpoint is not the sum of the commits, and take that in its place."""
        if direct is None or direct.lost or added_up.stuck or _is_same(direct.catalog, added_up.catalog):
            return
        self._perusal.fault(key, f"it is not the sum of the commits up to version {direct.catalog.version}")
        self._bad, direct.stuck = key, True


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
    pairs = np.unique(np.stack([first.attributes, second.attributes]), axis=1).T.tolist()
    # Texts are compared, as 1, 1.0 and True are equal in Python.
    return all(repr(first.attribute_table.encoded(a)) == repr(second.attribute_table.encoded(b)) for a, b in pairs)
