"""What an open store shows: a committed version, what is pending on top of it, and the chunk indexes read so far.

One lock guards a view. It is held for as long as memory takes, never while the storage works: a read takes what it
needs under the lock and runs without it. Calls for one dataset mostly take no lock at all: see `ChangeCount`. The view
also counts its changes, so that readers without the lock notice them:

- `change` grows with every change of what a read may return. Dask tokens carry it.
- `moves` grows before files may go that a running read uses. A read that fails meanwhile is repeated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from atlas.catalog.attribute_values import attribute_columns, attribute_parts, owned_parts
from atlas.catalog.chunk_index import ChunkIndex, load_chunk_index, load_segment
from atlas.catalog.datasets import Datasets
from atlas.errors import ArrayNotFoundError, AtlasError, CorruptStoreError, InvalidValueError, StaleHandleError
from atlas.format.attribute_keys import check_key, find_key, flatten_key
from atlas.format.attributes import decode_value, plain_value
from atlas.format.names import check_names, matching_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any

    from atlas.catalog.attribute_values import AttributeColumn
    from atlas.catalog.catalog import Catalog
    from atlas.catalog.meaning import AttributeGroups
    from atlas.catalog.selection import ArraySelection
    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.changes import Changes
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.runtime.limits import Limits
    from atlas.runtime.locks import HandleLocks
    from atlas.storage import Storage

__all__ = ["IndexNotLoadedError", "StoreView"]


class IndexNotLoadedError(Exception):
    """A chunk index is needed where it cannot be read, because a lock is held: call `load_index` first."""

    def __init__(self, array: str) -> None:
        super().__init__(array)
        self.array = array
        """The array name."""


class _StaleCheck:
    """See `StoreView.stale_check`. A class, not a generator: every small read enters one."""

    __slots__ = ("_view",)

    def __init__(self, view: StoreView) -> None:
        self._view = view

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, CorruptStoreError) or not isinstance(error.__cause__, FileNotFoundError):
            return
        view, version = self._view, self._view.catalog.version
        if view.is_gone(version):
            raise StaleHandleError(
                f"version {version} of the store at {view.storage.describe}, which this handle shows, is no longer "
                "kept, because the store was compacted or replaced: call refresh() or open it again"
            ) from error


def _plain(encoded: Any) -> object:
    return plain_value(decode_value(encoded))


class StoreView:
    """The datasets of an open store and where their chunks are."""

    def __init__(
        self,
        storage: Storage,
        catalog: Catalog,
        locks: HandleLocks,
        limits: Limits,
        is_gone: Callable[[int], bool],
    ) -> None:
        self.storage = storage
        """Where the store is."""
        self.datasets = Datasets(catalog)
        """The committed datasets, with what was created, changed and deleted since."""
        self.locks = locks
        """`locks.state` guards this view."""
        self._changes = locks.changes
        self.limits = limits
        """Sizes that decide how it is read and written."""
        self.is_gone = is_gone
        """Returns whether a version is no longer kept; asks the storage."""
        self.change = 0
        """Number of changes of what a read may return."""
        self.moves = 0
        """Number of times that files may have gone."""
        self.indexes: dict[str, ChunkIndex] = {}
        """The chunk indexes that were read, by array name: see `chunk_index`."""

    @property
    def catalog(self) -> Catalog:
        """The committed version."""
        return self.datasets.catalog

    # Metadata

    def find(self, dataset: str) -> tuple[int, dict[str, ArrayEntry]] | None:
        """Return the id of a dataset and its arrays without taking the lock; None where only a holder of it can tell.

        The arrays must not be changed.
        """
        ended = self._changes.ended
        found = self.datasets.find(dataset)
        return found if self._changes.begun == ended else None

    def find_entry(self, dataset: str, array: str) -> ArrayEntry | None:
        """Return an array of a dataset likewise."""
        found = self.find(dataset)
        return None if found is None or not isinstance(array, str) else found[1].get(array)

    def check_exists(self, dataset: str) -> None:
        """Raise `DatasetNotFoundError` where there is no dataset of that name."""
        ended = self._changes.ended
        if isinstance(dataset, str) and self.datasets.is_known(dataset) and self._changes.begun == ended:
            return
        with self.locks.state:
            self.datasets.state(dataset)

    def exists(self, dataset: str) -> bool:
        """Return whether there is a dataset of that name."""
        with self.locks.state:
            return self.datasets.exists(dataset)

    def count(self) -> int:
        """Return the number of datasets."""
        with self.locks.state:
            return len(self.datasets)

    def dataset_names(self) -> list[str]:
        """Return all dataset names in the order they were created."""
        with self.locks.state:
            return self.datasets.names()

    def chosen_names(self, names: Iterable[str] | None) -> list[str]:
        """Return the datasets that the argument `names` chooses: names, which may be missing, a pattern, None for all.

        Raises `InvalidTypeError` as `check_names` does, and `InvalidValueError` where it chooses none.
        """
        if names is not None and not isinstance(names, str):
            chosen = check_names("names", names)
            if not chosen:
                raise InvalidValueError("names is empty; open_many needs at least one dataset name")
            return chosen
        known = self.dataset_names()
        if not known:
            raise InvalidValueError("the store holds no dataset; add one with add_xr_dataset and flush it")
        chosen = known if names is None else matching_names(known, names)
        if not chosen:
            raise InvalidValueError(
                f"names={names!r} matches none of the {len(known)} datasets; * stands for any text, ? for one "
                f"character, [ab] for one of them, as in names={known[0][:1] + '*'!r}"
            )
        return chosen

    def array_names(self) -> list[str]:
        """Return the distinct array names over all datasets, sorted."""
        with self.locks.state:
            return self.datasets.array_names()

    def entries(self, dataset: str) -> dict[str, ArrayEntry]:
        """Return the arrays of a dataset in their order, or raise `DatasetNotFoundError`."""
        found = self.find(dataset)
        if found is not None:
            return found[1].copy()
        with self.locks.state:
            return self.datasets.state(dataset).arrays.copy()

    def entry(self, dataset: str, array: str) -> ArrayEntry | None:
        """Return an array of a dataset, None where it has none of that name, or raise `DatasetNotFoundError`."""
        entry = self.find_entry(dataset, array)
        if entry is not None:
            return entry
        with self.locks.state:
            return self.datasets.state(dataset).find(array)

    def array(self, dataset: str, array: str) -> ArrayEntry:
        """Return an array of a dataset, or raise `DatasetNotFoundError` or `ArrayNotFoundError`."""
        entry = self.find_entry(dataset, array)
        if entry is not None:
            return entry
        with self.locks.state:
            return self.datasets.state(dataset).array(array)

    def attributes(self, dataset: str) -> dict[AttributeKey, Any]:
        """Return the encoded attributes of a dataset in their order, or raise `DatasetNotFoundError`."""
        ended = self._changes.ended
        encoded = self.datasets.find_attributes(dataset)
        if encoded is not None and self._changes.begun == ended:
            return encoded
        with self.locks.state:
            return self.datasets.state(dataset).attributes_now()

    def select(self, array: str, names: Sequence[str]) -> ArraySelection:
        """Return one array of the datasets of some names."""
        with self.locks.state:
            return self.datasets.arrays(array, names)

    def wanted_names(self, names: Sequence[str]) -> list[str]:
        """Return the names of some datasets as a list.

        Raises `InvalidTypeError` for what is no sequence of names, and `InvalidValueError` where that is empty.
        """
        wanted = names if type(names) is list else check_names("dataset_names", names)
        if not wanted:
            raise InvalidValueError("dataset_names is empty; name at least one dataset")
        return wanted

    def names_or_all(self, names: Sequence[str] | None) -> list[str]:
        """Return the same, and the names of all datasets where `names` is None. The caller must hold the lock."""
        return self.datasets.names() if names is None else self.wanted_names(names)

    def select_of_any(self, array: str, names: list[str]) -> ArraySelection:
        """Return one array of the datasets of some names. The caller must hold the lock.

        Raises `ArrayNotFoundError` where no dataset of the store has the array.
        """
        selection = self.datasets.arrays(array, names)
        if not len(selection.present) and array not in self.datasets.array_names():
            raise ArrayNotFoundError(
                f"no dataset of the store has an array {array!r}; list_arrays() returns those that exist"
            )
        return selection

    def layouts(self, names: Sequence[str]) -> list[dict[str, ArrayEntry]]:
        """Return the distinct lists of arrays of datasets, that of the first dataset first.

        Raises `DatasetNotFoundError` where one does not exist.
        """
        with self.locks.state:
            return self.datasets.layouts(names)

    def array_attributes(self, selection: ArraySelection) -> AttributeGroups:
        """Return the distinct exact attributes of arrays, with reserved ones."""
        with self.locks.state:
            groups = self.datasets.array_attributes(selection)
        exact = [
            {key: self._decode(selection.names[at], key, value) for key, value in found.items()}
            for at, found in zip(groups.first.tolist(), groups.distinct, strict=True)
        ]
        return replace(groups, distinct=exact)

    def own_attributes(self, selection: ArraySelection) -> dict[AttributeKey, list[Any]]:
        """Return the distinct encoded values of each attribute that can be of no array. See `Datasets`."""
        with self.locks.state:
            return self.datasets.own_attributes(selection)

    def exact_attributes(self, dataset: str) -> dict[AttributeKey, object]:
        """Return the attributes of a dataset with their exact keys and values (see `atlas.format.attributes`).

        Raises `DatasetNotFoundError`, and `CorruptStoreError` where a value cannot be decoded.
        """
        return {key: self._decode(dataset, key, value) for key, value in self.attributes(dataset).items()}

    def attribute_columns(
        self,
        names: Sequence[str] | None,
        keys: Sequence[str] | None,
        array: str | None,
        is_hidden: Callable[[str], bool],
    ) -> dict[str, AttributeColumn]:
        """Return the attributes of many datasets, or of one array of each, as columns. See `Atlas.attributes_across`.

        `is_hidden` tells by the text of an attribute whether it is left out. Raises what `wanted_names` and
        `select_of_any` raise, and `CorruptStoreError` where a value cannot be decoded.
        """
        with self.locks.state:
            datasets, wanted = self.datasets, self.names_or_all(names)
            selection = datasets.select(wanted)
            parts = attribute_parts(datasets, selection)
            if array is not None:
                self.select_of_any(array, wanted)
            owned = owned_parts(datasets, selection, parts, array)
        return attribute_columns(selection.names, owned, keys, is_hidden, self._decode)

    def shown_attributes(self, dataset: str) -> dict[str, Any]:
        """Return what `DatasetView.attributes` shows, or raise as `exact_attributes` does."""
        ended = self._changes.ended
        try:
            shown = self.datasets.shown_attributes(dataset, _plain)
        except InvalidValueError:  # of an attribute that is damaged, or of half a change
            shown = None
        if shown is not None and self._changes.begun == ended:
            return shown
        with self.locks.state:
            self.datasets.state(dataset)
            try:
                return self.datasets.shown_attributes(dataset, _plain) or {}
            except InvalidValueError:
                self.exact_attributes(dataset)  # raises, and names the one that is damaged
                raise

    def attribute(self, dataset: str, key: AttributeKey, default: object = None) -> object:
        """Return the exact value of the attribute that is shown like `key`, `default` where the dataset lacks it."""
        check_key(key)
        attributes = self.attributes(dataset)
        found = find_key(attributes, flatten_key(key))
        return default if found is None else self._decode(dataset, found, attributes[found])

    def _decode(self, dataset: str, key: AttributeKey, value: Any) -> object:
        try:
            return decode_value(value)
        except ValueError as error:
            raise CorruptStoreError(
                f"attribute {flatten_key(key)!r} of dataset {dataset!r} is damaged: {error}; set it again, or restore "
                "the store from a copy",
                dataset=dataset,
            ) from error

    # Chunks

    def chunk_index(self, array: str) -> ChunkIndex:
        """Return the index of an array name's committed chunks. The caller must hold the lock.

        Raises `IndexNotLoadedError` where it was not read yet.
        """
        index = self.indexes.get(array)
        if index is None:
            if array in self.catalog.segments:
                raise IndexNotLoadedError(array)
            index = self.indexes[array] = ChunkIndex.of([])
        return index

    def load_index(self, array: str) -> ChunkIndex:
        """Return the index of an array name's committed chunks. The first call for a name reads its segments' indexes.

        Holds no lock that others need; the caller must not hold `state`. Where the handle moves meanwhile, nothing is
        kept. Raises `CorruptStoreError`, and `StaleHandleError` where the version shown is no longer kept.
        """
        index = self.indexes.get(array)
        if index is not None:
            return index
        with self.locks.loading(array):
            with self.locks.state:
                refs, moves, index = self.catalog.segments.get(array, []), self.moves, self.indexes.get(array)
            if index is None:
                with self.stale_check():
                    index = load_chunk_index(self.storage, refs)
                with self.locks.state:
                    if moves == self.moves:
                        self.indexes[array] = index
            return index

    def stale_check(self) -> _StaleCheck:
        """Turn a missing file into `StaleHandleError` where the store was compacted or replaced meanwhile."""
        return _StaleCheck(self)

    # Changes

    def changed(self) -> None:
        """Count a change of what a read may return."""
        self.change += 1

    def indexes_after(self, steps: Sequence[Changes] | None) -> dict[str, ChunkIndex]:
        """Return the chunk indexes that are known of another version, for `move_to`. Reads those of new segments.

        `steps` are the changes that lead there from the version shown, None where they are not all known. The caller
        must hold `writing`, and not `state`.
        """
        if steps is None or any(changes.reset for changes in steps):
            return {}
        indexes = self.indexes.copy()
        for changes in steps:
            dropped = set(changes.dropped)
            if dropped:
                indexes = {
                    array: index
                    for array, index in indexes.items()
                    if dropped.isdisjoint(source.name for source in index.sources)
                }
            for ref in changes.segments:
                if ref.array in indexes:
                    try:
                        indexes[ref.array] = indexes[ref.array].added(*load_segment(self.storage, ref))
                    except (AtlasError, MemoryError):  # the commit stands; the next read of the array raises the error
                        del indexes[ref.array]
        return indexes

    def move_to(self, indexes: dict[str, ChunkIndex]) -> None:
        """Follow the catalog, which holds another version by now, with the chunk indexes that `indexes_after` returned.

        An index that a thread has read since is forgotten.
        """
        self.moves += 1
        self.indexes = indexes
        self.changed()

    def forget_indexes(self) -> None:
        """Forget all chunk indexes: the files that they lead to are about to go."""
        self.indexes = {}
        self.moves += 1
