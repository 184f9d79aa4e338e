"""Reads the documents of a store one by one: checkpoints, bases, links, commits and pages.

Damage is noted and never raised, so that one damaged document hides no other. Only a document of another format raises
(`UnsupportedFormatError`). Applies nothing and decides nothing: `metadata_check` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from atlas.commit.commit_log import LINKS, link_key
from atlas.errors import AtlasError, CorruptStoreError, StorageError, UnsupportedFormatError
from atlas.format.attribute_keys import array_keys, flatten_key, own_keys
from atlas.format.attributes import decode_value
from atlas.format.bases import base_from_json, link_from_json
from atlas.format.changes import changes_from_json, page_from_json
from atlas.format.commit_header import header_from_json, time_from_json
from atlas.format.config import config_from_json
from atlas.format.documents import Encoding
from atlas.format.packs import Pack, pack_from_json
from atlas.format.versions import earlier_from_json

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from typing import Any

    from atlas.format.bases import BaseRef
    from atlas.format.changes import Changes, PageRef
    from atlas.format.config import StoreConfig
    from atlas.format.dataset_columns import RowBatch
    from atlas.format.versions import EarlierVersion
    from atlas.storage import Storage
    from atlas.verification.findings import Findings

__all__ = ["CommitDocument", "DocumentCheck", "StateDocument"]

_T = TypeVar("_T")


class StateDocument(NamedTuple):
    """A checkpoint or a base: all of one version."""

    key: str
    """Key of the file."""
    identity: str
    """Identity of the store."""
    created: dt.datetime
    """When the store was created."""
    base: BaseRef
    """The version from which on all were kept when the document was written."""
    config: StoreConfig
    """Configuration that `create` chose."""
    changes: Changes
    """The version, as changes to an empty store."""
    earlier: tuple[EarlierVersion, ...]
    """The earlier versions that a base lists."""


@dataclass(frozen=True, slots=True)
class CommitDocument:
    """A commit and the rows of its pages."""

    identity: str
    """Identity of the store."""
    time: dt.datetime
    """When it was made."""
    config: StoreConfig | None
    """The configuration where the commit creates the store, None for other commits."""
    changes: Changes
    """What it changes."""
    page_rows: list[RowBatch]
    """The rows of its pages."""


class DocumentCheck:
    """Reads documents, counts each once, and notes each damaged one once."""

    def __init__(self, storage: Storage, findings: Findings) -> None:
        self.storage = storage
        """Storage of the store."""
        self.identity: str | None = None
        """Identity of the store, None until it is known."""
        self.keys: set[str] = set()
        """Keys of the documents that were read or are missing, and of the segments that they name."""
        self._findings = findings
        self._intact: dict[str, bool] = {}  # by key of a document that was asked for: whether no damage was noted

    def note_fault(self, key: str, what: str) -> None:
        """Note that a document is damaged; of several faults only the first is kept."""
        if self._intact.get(key, True):
            self._intact[key] = False
            self._findings.add(key, what)

    def note_missing(self, key: str, more: str = "") -> None:
        """Note that a file does not exist; `more` ends the message."""
        self._findings.files += key not in self._intact
        self._findings.missing.add(key)
        self.keys.add(key)
        self.note_fault(key, f"it is missing{more}")

    def read_file(self, key: str) -> bytes | None:
        """Return a file, None where it does not exist, and no bytes where it cannot be read, which is noted."""
        known = key in self._intact
        try:
            data = self.storage.read(key)
        except FileNotFoundError:
            return None
        except AtlasError as error:
            self._findings.files += not known
            self.keys.add(key)
            self.note_fault(key, f"it cannot be read: {error}")
            return b""
        if not known:
            self._intact[key] = True
            self.keys.add(key)
            self._findings.files += 1
            self._findings.advance(len(data))
        return data

    def _decode(
        self, key: str, encoding: Encoding, read: Callable[[dict[str, Any]], _T], data: bytes | None = None
    ) -> _T | None:
        """Return what `read` returns for a document, None where it is damaged. `data` are its bytes, if known."""
        data = self.read_file(key) if data is None else data
        if data is None:
            self.note_missing(key)
            return None
        try:
            return read(encoding.decode(data))
        except (CorruptStoreError, RecursionError) as error:  # the message shows nested values, which may be too deep
            self.note_fault(key, str(error))
        except UnsupportedFormatError as error:
            raise UnsupportedFormatError(f"{key}: {error}") from error
        return None

    def list_folder(self, folder: str) -> list[str] | None:
        """Return the keys of the files in a folder, None where the storage cannot list (a plain web server)."""
        try:
            return self.storage.list(folder)
        except StorageError:
            return None

    # Kinds of documents

    def read_state(self, key: str, encoding: Encoding) -> StateDocument | None:
        """Return a checkpoint or base, None where it is damaged or missing."""

        def read(document: dict[str, Any]) -> StateDocument:
            changes, base = changes_from_json("checkpoint", document), base_from_json(document)
            identity = document.get("store")
            if not isinstance(identity, str):
                raise CorruptStoreError("it does not say which store it is of")
            if base.version > changes.version:
                raise CorruptStoreError(f"its base is of version {base.version}, after its own")
            earlier = earlier_from_json(document, changes.version) if key.startswith("bases/") else ()
            created = time_from_json(document.get("created"))
            return StateDocument(key, identity, created, base, config_from_json(document), changes, earlier)

        return self._decode(key, encoding, read)

    def read_base(self, key: str) -> StateDocument | None:
        """Return a base, whose key tells its encoding, None where it is damaged or missing."""
        form = "msgpack" if ".msgpack" in key else "json"
        return self.read_state(key, Encoding(form, ".lz4" if key.endswith(".lz4") else ".zst"))

    def read_link(self, version: int, identity: str | None) -> tuple[str, BaseRef] | None:
        """Return the store's identity and the base after the one at `version`, None where the link is damaged.

        A link of another store than `identity`, if given, is damaged.
        """

        def read(document: dict[str, Any]) -> tuple[str, BaseRef]:
            store = str(document.get("store"))
            return store, link_from_json(document, identity or store, version)

        return self._decode(link_key(version), LINKS, read)

    def read_pack(self, key: str, last: int) -> Pack | None:
        """Return the pack of the commits up to version `last`, None where it is damaged or of another store."""
        form, _, packed = key.rpartition("/")[2].partition(".")[2].partition(".")

        def read(document: dict[str, Any]) -> Pack | None:
            pack = pack_from_json(document, last)
            return pack if self.identity in {None, document.get("store")} else None

        return self._decode(key, Encoding(form, f".{packed}"), read)

    def read_commit(
        self, key: str, encoding: Encoding, version: int, *, with_pages: bool, packed: bytes | None = None
    ) -> CommitDocument | None:
        """Return the commit of `version`, None where it or one of its pages, if wanted, is damaged or missing.

        `packed` are its bytes where the pack `key` holds it.
        """

        def read(document: dict[str, Any]) -> CommitDocument:
            changes, head = changes_from_json("commit", document), header_from_json(document)
            identity = str(document.get("store"))
            if changes.version != version:
                raise CorruptStoreError(f"it makes version {changes.version}, not {version}")
            if self.identity not in {None, identity} and not changes.reset:
                raise CorruptStoreError("it is of another store")
            config = config_from_json(document) if head.action == "create" else None
            return CommitDocument(identity, head.time, config, changes, [])

        commit = self._decode(key, encoding if packed is None else Encoding(encoding.format, ""), read, packed)
        if commit is None:
            return None
        pages = self.read_pages(key, commit.changes if with_pages else replace(commit.changes, pages=()), encoding)
        commit.page_rows.extend(rows for rows in pages if rows is not None)
        return commit if len(commit.page_rows) == len(pages) else None

    def read_pages(self, key: str, changes: Changes, encoding: Encoding) -> list[RowBatch | None]:
        """Return the rows of the pages of the document at `key`, None for each that is damaged or missing.

        Also checks the attributes in the document and in its pages, and keeps the keys of its segments.
        """
        self.keys.update(ref.key for ref in changes.segments)
        self._check_attributes(key, changes.rows)
        return [self._read_page(page, encoding.compressed()) for page in changes.pages]

    def _read_page(self, page: PageRef, encoding: Encoding) -> RowBatch | None:
        is_new = page.key not in self._intact
        rows = self._decode(page.key, encoding, lambda document: page_from_json(document, page))
        if rows is not None and is_new:
            self._check_attributes(page.key, rows)
        return rows

    def _check_attributes(self, key: str, rows: RowBatch) -> None:
        """Note attributes of `rows`, which the document at `key` holds, whose values do not decode."""
        table = rows.attribute_table
        bad = {at for at, value in enumerate(table.values) if not _is_decodable(value)}
        if not bad:
            return
        own = (table.sets, rows.attributes, own_keys)
        of_arrays = (table.array_sets, rows.array_attributes, array_keys)
        for sets, column, some_keys in (own, of_arrays):
            for number, (keyset, *values) in enumerate(sets):
                if bad.isdisjoint(values):
                    continue
                names = [n for n, value in zip(some_keys(table.keysets[keyset]), values, strict=True) if value in bad]
                with_set = np.flatnonzero(column == number).tolist()
                for name in names:
                    for row in with_set:
                        what = f"attribute {flatten_key(name)!r} cannot be decoded"
                        self._findings.add(key, what, dataset=rows.names[row])


def _is_decodable(value: object) -> bool:
    try:
        decode_value(value)
    except AtlasError:
        return False
    return True
