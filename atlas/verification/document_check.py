"""Reading the documents of a store one by one, so that a damaged one hides no other: damage is noted and not raised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from atlas.commit.commit_log import LINKS, link_key
from atlas.errors import AtlasError, CorruptStoreError, StorageError, UnsupportedFormatError
from atlas.format.attributes import decode_value, flatten_key
from atlas.format.bases import base_from_json, link_from_json
from atlas.format.changes import changes_from_json, page_from_json
from atlas.format.commit_header import header_from_json, time_from_json
from atlas.format.config import config_from_json
from atlas.format.documents import Encoding

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from typing import Any

    from atlas.format.bases import BaseRef
    from atlas.format.changes import Changes, PageRef
    from atlas.format.config import StoreConfig
    from atlas.format.dataset_columns import RowBatch
    from atlas.storage import Storage
    from atlas.verification.findings import Findings

__all__ = ["CommitDocument", "Perusal", "SumDocument"]

_T = TypeVar("_T")


class SumDocument(NamedTuple):
    """A checkpoint, or the document of a base."""

    key: str
    """Its key."""
    identity: str
    """Name of the store."""
    created: dt.datetime
    """When the store was made."""
    base: BaseRef
    """The oldest version that was kept when it was written."""
    config: StoreConfig
    """What `create` decided."""
    changes: Changes
    """What it holds."""


@dataclass(frozen=True, slots=True)
class CommitDocument:
    """A commit with what its pages hold."""

    identity: str
    """Name of the store."""
    time: dt.datetime
    """When it was made."""
    config: StoreConfig | None
    """What it decides anew of the store, if it does."""
    changes: Changes
    """What it changes."""
    page_rows: list[RowBatch]
    """What its pages hold."""


class Perusal:
    """The documents read so far."""

    def __init__(self, storage: Storage, findings: Findings) -> None:
        self.storage = storage
        """Where the store lies."""
        self.identity: str | None = None
        """Name of the store, once it is known."""
        self.keys: set[str] = set()
        """Every document that was read or is missing, and every file that one names."""
        self._findings = findings
        self._whole: dict[str, bool] = {}

    def fault(self, key: str, what: str) -> None:
        """Note that a document is damaged, once."""
        if self._whole.get(key, True):
            self._whole[key] = False
            self._findings.add(key, what)

    def load(self, key: str) -> bytes | None:
        """Return a file, None where there is none; what cannot be read is noted and empty."""
        known = key in self._whole
        try:
            data = self.storage.read(key)
        except FileNotFoundError:
            return None
        except AtlasError as error:
            self._findings.files += not known
            self.keys.add(key)
            self.fault(key, f"it cannot be read: {error}")
            return b""
        if not known:
            self._whole[key] = True
            self.keys.add(key)
            self._findings.files += 1
            self._findings.advance(len(data))
        return data

    def _decode(self, key: str, encoding: Encoding, read: Callable[[dict[str, Any]], _T]) -> _T | None:
        data = self.load(key)
        if data is None:
            self.missing(key)
            return None
        try:
            return read(encoding.decode(data))
        except CorruptStoreError as error:
            self.fault(key, str(error))
        except UnsupportedFormatError as error:
            raise UnsupportedFormatError(f"{key}: {error}") from error
        return None

    def missing(self, key: str, more: str = "") -> None:
        """Note that a file is not there."""
        self._findings.files += key not in self._whole
        self._findings.missing.add(key)
        self.keys.add(key)
        self.fault(key, f"it is missing{more}")

    def list_folder(self, folder: str) -> list[str] | None:
        """Return the files of a folder, None where the storage cannot list, as a plain web server."""
        try:
            return self.storage.list(folder)
        except StorageError:
            return None

    # Kinds of documents

    def read_sum(self, key: str, encoding: Encoding) -> SumDocument | None:
        """Return a checkpoint or base."""

        def read(document: dict[str, Any]) -> SumDocument:
            changes, base = changes_from_json("checkpoint", document), base_from_json(document)
            identity = document.get("store")
            if not isinstance(identity, str):
                raise CorruptStoreError("it does not say which store it is of")
            if base.version > changes.version:
                raise CorruptStoreError(f"its base is of version {base.version}, after its own")
            created = time_from_json(document.get("created"))
            return SumDocument(key, identity, created, base, config_from_json(document), changes)

        return self._decode(key, encoding, read)

    def read_base(self, key: str) -> SumDocument | None:
        """Return the document of a base."""
        form = "msgpack" if ".msgpack" in key else "json"
        return self.read_sum(key, Encoding(form, ".lz4" if key.endswith(".lz4") else ".zst"))

    def read_link(self, version: int, identity: str | None) -> tuple[str, BaseRef] | None:
        """Return the store's name and the base that follows the one of a version.

        Where `identity` is given it must be of that store.
        """

        def read(document: dict[str, Any]) -> tuple[str, BaseRef]:
            store = str(document.get("store"))
            return store, link_from_json(document, identity or store, version)

        return self._decode(link_key(version), LINKS, read)

    def read_commit(self, key: str, encoding: Encoding, version: int) -> CommitDocument | None:
        """Return a commit, None where it or one of its pages cannot be read."""

        def read(document: dict[str, Any]) -> CommitDocument:
            head, changes = header_from_json(document), changes_from_json("commit", document)
            identity = str(document.get("store"))
            if changes.version != version:
                raise CorruptStoreError(f"it makes version {changes.version}, not {version}")
            if self.identity not in {None, identity} and not changes.reset:
                raise CorruptStoreError("it is of another store")
            config = config_from_json(document) if head.action == "create" else None
            return CommitDocument(identity, head.time, config, changes, [])

        commit = self._decode(key, encoding, read)
        if commit is None:
            return None
        pages = self.contents(key, commit.changes, encoding)
        commit.page_rows.extend(rows for rows in pages if rows is not None)
        return commit if len(commit.page_rows) == len(pages) else None

    def contents(self, key: str, changes: Changes, encoding: Encoding) -> list[RowBatch | None]:
        """Check what a document holds and return the rows of its pages, None where one cannot be read."""
        self.keys.update(ref.key for ref in changes.segments)
        self._check_attributes(key, changes.rows)
        return [self._page(page, encoding.compressed()) for page in changes.pages]

    def _page(self, page: PageRef, encoding: Encoding) -> RowBatch | None:
        is_new = page.key not in self._whole
        rows = self._decode(page.key, encoding, lambda document: page_from_json(document, page))
        if rows is not None and is_new:
            self._check_attributes(page.key, rows)
        return rows

    def _check_attributes(self, key: str, rows: RowBatch) -> None:
        table = rows.attribute_table
        bad = {at for at, value in enumerate(table.values) if not _is_decodable(value)}
        for number, (keyset, *values) in enumerate(table.sets if bad else ()):
            for name, value in zip(table.keysets[keyset], values, strict=True):
                for row in np.flatnonzero(rows.attributes == number).tolist() if value in bad else ():
                    what = f"attribute {flatten_key(name)!r} cannot be decoded"
                    self._findings.add(key, what, dataset=rows.names[row])


def _is_decodable(value: object) -> bool:
    try:
        decode_value(value)
    except AtlasError:
        return False
    return True
