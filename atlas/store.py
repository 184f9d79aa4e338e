"""`Atlas`: a store of many datasets. A thin layer over `session`, `xarray` and `storage`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

import atlas.xarray
from atlas.commit.commit_log import CommitLog
from atlas.commit.creation import create_store
from atlas.dataset import DatasetView
from atlas.errors import InvalidTypeError, InvalidValueError, StaleHandleError, VersionNotFoundError
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.config import StoreConfig
from atlas.format.documents import parse_encoding
from atlas.format.names import check_names
from atlas.format.schema import make_schema
from atlas.maintenance.description import describe
from atlas.runtime import limits as runtime_limits
from atlas.runtime.locks import ForkSafeLock
from atlas.session import Session
from atlas.storage import open_storage
from atlas.verification import KnownVersion, verify_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    import xarray as xr
    from numpy.typing import NDArray

    from atlas.commit.history import Version
    from atlas.format.schema import ArraySchema
    from atlas.maintenance.description import StoreDescription
    from atlas.runtime.limits import Limits
    from atlas.storage import Storage
    from atlas.verification import VerifyReport

__all__ = ["Atlas", "verify"]


def _choice(what: str, value: object, choices: Mapping[str, str]) -> str:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} is a str, not {type(value).__name__} {value!r}")
    if value.lower() not in choices:
        raise InvalidValueError(f"unknown {what} {value!r}; use one of {', '.join(choices)}")
    return choices[value.lower()]


def _version_number(version: object) -> int:
    if isinstance(version, bool) or not isinstance(version, int | np.integer):
        raise InvalidTypeError(f"a version is a whole number, not {type(version).__name__} {version!r}")
    return int(version)


class Atlas:
    """A store of datasets that look alike.

    Writes are kept in memory until `flush`, the one durability boundary: it commits everything that is pending, or
    fails and changes nothing on disk. As a context manager a store is flushed on every exit. A handle may be used from
    many threads. It pickles as the place and the version, and is opened at that version where it is loaded; a process
    opens each only once, and what it loads again is that handle.
    """

    def __init__(self, session: Session) -> None:
        """Use `Atlas.create` or `Atlas.open`."""
        self._session = session
        self._schemas: dict[tuple[object, ...], ArraySchema] = {}

    # Opening

    @classmethod
    def create(
        cls,
        source: Any,
        codec: str = "zstd",
        meta_format: str = "json",
        meta_compression: str = "none",
        *,
        overwrite: bool = False,
        filter: str = "auto",  # noqa: A002 - the field's term
        durable: bool = True,
        single_writer: bool = False,
        limits: Limits | None = None,
    ) -> Atlas:
        """Create an empty store at `source`, a path (`~` is expanded) or an obstore handle.

        `codec` is "zstd", "lz4" or "none" ("uncompressed"); `meta_format` "json" or "msgpack" ("mp");
        `meta_compression` like `codec`. `filter` is "auto", which chooses for each array and flush by trial, or
        "none", "byteshuffle" or "bitshuffle". Names are case-insensitive. `overwrite=True` replaces a store that
        is there, with all it holds. `durable=False` is for stores to throw away: see `open`. `single_writer=True` is
        your word that nobody else writes to the store: needed only where the place cannot create an object only if it
        is absent. `limits` are the sizes of buffers, caches and documents, for programs that know their machine.

        Raises `StoreExistsError` (FileExistsError), `InvalidValueError` (ValueError) for an unknown name,
        `StorageError` (OSError) where the place cannot be written, and `ConditionalPutError`, which is one, where it
        could not tell two writers apart.
        """
        config = StoreConfig(
            _choice("codec", codec, {name: name for name in CODECS} | {"uncompressed": "none"}),
            _choice("filter", filter, {"auto": "auto"} | {name: name for name in FILTERS}),
            parse_encoding(meta_format, meta_compression),
        )
        storage = open_storage(source, create=True, durable=durable, single_writer=single_writer)
        return cls(
            Session(*create_store(storage, config, overwrite=overwrite, limits=limits or runtime_limits.DEFAULT))
        )

    @classmethod
    def open(
        cls,
        source: Any,
        version: int | None = None,
        *,
        durable: bool = True,
        single_writer: bool = False,
        limits: Limits | None = None,
    ) -> Atlas:
        """Open the store at `source`, a path (`~` is expanded) or an obstore handle, as it was last flushed.

        `version` opens an earlier version, of those that `history` lists: the handle shows it as if it had been opened
        then. See `create` for `single_writer` and `limits`; reading never needs the first.

        With `durable=False` nothing that this handle does waits for the disk. Flushes stay atomic, and a process that
        is killed loses nothing that was flushed; but a power cut or a crash of the system may take the last flushes,
        damage what they wrote, or leave the store unopenable. It belongs to the handle, not to the store, is pickled
        with it, and has no effect on object stores. Checksums are written and checked all the same.

        Raises `StoreNotFoundError` (FileNotFoundError), `VersionNotFoundError` (KeyError) for a version that was not
        made or is no longer kept, `UnsupportedFormatError` (RuntimeError) for a store of a later format or of another
        system, `CorruptStoreError` (RuntimeError) where its metadata is damaged.

        >>> with atlas.Atlas.create(path) as store:
        ...     _ = store.create_dataset("monday")
        >>> atlas.Atlas.open(path)
        <Atlas datasets=1>
        >>> atlas.Atlas.open(path, version=0)
        <Atlas datasets=0>
        """
        wanted = None if version is None else _version_number(version)
        storage = open_storage(source, durable=durable, single_writer=single_writer)
        return cls(Session(*CommitLog.open(storage, wanted, limits or runtime_limits.DEFAULT)))

    def __reduce__(self) -> tuple[Any, ...]:
        if self._session.pending:
            raise InvalidValueError(
                "a store with unflushed changes cannot be pickled: another process would not see them; flush first"
            )
        return _reopen, (self._session.view.storage, self._session.catalog.version, self._session.log.limits)

    def __repr__(self) -> str:
        return f"<Atlas datasets={self._session.view.count()}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, on every exit."""
        self.close()

    # Datasets

    def create_dataset(self, name: str) -> DatasetView:
        """Create a dataset, in memory until `flush`.

        A name is any non-empty text without `/` that does not begin with `_` and is not `.` or `..`.

        Raises `DatasetExistsError` (FileExistsError) or `InvalidNameError` (ValueError).
        """
        self._session.writer.create_dataset(name)
        return DatasetView(self, name)

    def create_datasets(self, names: Sequence[str]) -> list[DatasetView]:
        """Create many datasets, all of them or none. See `create_dataset` for the errors.

        >>> store = atlas.Atlas.create(path)
        >>> store.create_datasets(["monday", "tuesday"])
        [<DatasetView name="monday" arrays=0>, <DatasetView name="tuesday" arrays=0>]
        """
        wanted = check_names("names", names)
        self._session.writer.create_datasets(wanted)
        return [DatasetView(self, name) for name in wanted]

    def open_dataset(self, name: str) -> DatasetView:
        """Return an existing dataset. Raises `DatasetNotFoundError` (KeyError)."""
        self._session.view.entries(name)
        return DatasetView(self, name)

    def delete_dataset(self, name: str) -> None:
        """Remove a dataset, on disk at the next `flush`. Raises `DatasetNotFoundError` (KeyError)."""
        self._session.writer.delete_dataset(name)

    def list_datasets(self) -> list[str]:
        """Return the names of all datasets, in the order they were created."""
        return self._session.view.dataset_names()

    def list_arrays(self) -> list[str]:
        """Return the distinct array names over all datasets, sorted."""
        return self._session.view.array_names()

    def dataset_exists(self, name: str) -> bool:
        """Return whether there is a dataset of that name."""
        return self._session.view.exists(name)

    def describe(self) -> StoreDescription:
        """Return what the store, as last flushed, holds and what each array takes on disk; reads no values.

        >>> atlas.Atlas.create(path).describe().codec
        'zstd'
        """
        return describe(self._session.view, self._session.log)

    # xarray

    def add_xr_dataset(self, ds: xr.Dataset, name: str, chunks: Mapping[str, Sequence[int]] | None = None) -> None:
        """Append an xarray dataset as the new dataset `name`, all of it or nothing; does not flush.

        Each coordinate and data variable becomes an array. Dask-backed variables are written block by block and chunked
        alike on disk; `chunks` maps variable names to another chunk shape.

        Raises `DatasetExistsError` (FileExistsError), `UnsupportedDtypeError` (NotImplementedError) naming the
        variable, and what `DatasetView.define_array` raises.
        """
        with self._session.locks.building.passing():
            atlas.xarray.add(self, ds, name, chunks=chunks)

    def to_xarray(self, name: str) -> xr.Dataset:
        """Return a dataset as an `xr.Dataset`; variables stored in more than one chunk are dask-backed.

        Raises `DatasetNotFoundError` (KeyError).

        >>> store = atlas.Atlas.create(path)
        >>> store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0, 2.0], {"units": "K"})}), "monday")
        >>> store.to_xarray("monday")["t"].units
        'K'
        """
        return atlas.xarray.to_xarray(self.open_dataset(name))

    def to_xarray_many(self, names: Sequence[str], concat_dim: str = "dataset", parallel: bool = True) -> xr.Dataset:
        """Stack many datasets along the new dimension `concat_dim`, whose coordinate is the names; eager.

        Coordinates and attributes are the first dataset's. `parallel=False` reads with one variable at a time.

        Raises `InvalidValueError` (ValueError) on no names or shapes that differ, `ArrayNotFoundError` (KeyError) where
        a dataset lacks a variable.
        """
        return atlas.xarray.to_xarray_many(self, names, concat_dim=concat_dim, parallel=parallel)

    # Bulk reads

    def read_array_across(
        self,
        array: str,
        dataset_names: Sequence[str],
        start: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> list[NDArray[Any] | None]:
        """Return the same box of one array from many datasets, None where a dataset or its array is missing.

        Shapes may differ between datasets. See `DatasetView.read_array` for `start` and `shape`.

        Raises `ArrayNotFoundError` (KeyError) where no dataset of the store has the array, `InvalidValueError`
        (ValueError) on no names or a box that leaves one of the arrays.

        >>> store = atlas.Atlas.create(path)
        >>> store.create_dataset("monday").define_array("depth", "int16", ["x"], [2], fill_value=-1)
        >>> store.read_array_across("depth", ["monday", "sunday"])
        [array([-1, -1], dtype=int16), None]
        """
        return self._session.reader.read_across(array, dataset_names, start, shape)

    def read_array_across_stacked(
        self,
        array: str,
        dataset_names: Sequence[str],
        start: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> NDArray[Any]:
        """Return the same box of one array from N datasets as one array of shape (N, *box).

        Raises `DatasetNotFoundError` or `ArrayNotFoundError` (KeyError), `InvalidValueError` (ValueError) on no names,
        a box that leaves the arrays, or arrays of different shape or dtype.

        >>> with atlas.Atlas.create(path) as store:
        ...     for day in ("monday", "tuesday"):
        ...         dataset = store.create_dataset(day)
        ...         dataset.define_array("depth", "int16", ["x"], [4])
        ...         dataset.write_array("depth", [0], np.arange(4, dtype=np.int16))
        >>> store.read_array_across_stacked("depth", ["monday", "tuesday"], start=[1], shape=[2])
        array([[1, 2],
               [1, 2]], dtype=int16)
        """
        return self._session.reader.read_stacked(array, dataset_names, start, shape)

    def write_array_across_stacked(
        self,
        array: str,
        dataset_names: Sequence[str],
        data: NDArray[Any],
        dims: Sequence[str] | None = None,
        chunk_shape: Sequence[int] | None = None,
        fill_value: Any = None,
    ) -> None:
        """Define one array in N datasets and write `data`, of shape (N, *shape), to them: the twin of the stacked read.

        The datasets must exist and lack the array. Its dtype is that of `data`; `dims` defaults to "dim_0", "dim_1", …;
        see `DatasetView.define_array` for the others. All of it is done or nothing.

        Raises `DatasetNotFoundError` (KeyError), `ArrayExistsError` (FileExistsError), `InvalidValueError` (ValueError)
        where `data` does not have one row a name, and what `DatasetView.define_array` raises.

        >>> store = atlas.Atlas.create(path)
        >>> names = [f"station{at}" for at in range(1000)]
        >>> _ = store.create_datasets(names)
        >>> store.write_array_across_stacked("temperature", names, np.zeros((1000, 24), np.float32), dims=["hour"])
        >>> store.read_array_across_stacked("temperature", names[:2]).shape
        (2, 24)
        """
        wanted = check_names("dataset_names", dataset_names)
        if not isinstance(data, np.ndarray) or data.ndim == 0 or len(data) != len(wanted):
            shape = f"shape {data.shape}" if isinstance(data, np.ndarray) else f"type {type(data).__name__}"
            raise InvalidValueError(
                f"data is an ndarray with one row for each of the {len(wanted)} datasets, not of {shape}"
            )
        names = [f"dim_{axis}" for axis in range(data.ndim - 1)] if dims is None else dims
        schema = self._schema(data.dtype, names, data.shape[1:], chunk_shape, fill_value)
        self._session.writer.write_stacked(array, wanted, data, schema)

    # Durability and versions

    def flush(self, message: str | None = None) -> None:
        """Commit everything that is pending: one segment an array name and one commit, however many datasets.

        The version that this makes holds what other writers have committed since, and this handle shows it from then
        on. `message` is kept with it, for `history`.

        Raises `StorageError` (OSError), or `ConflictError` (RuntimeError) where another writer has changed the same
        chunk, array, attribute or name since this handle's version: the store on disk is then as it was, and what is
        pending is kept.
        """
        if not (message is None or isinstance(message, str)):
            raise InvalidTypeError(f"a message is a str, not {type(message).__name__}")
        self._session.flush(message)

    def close(self) -> None:
        """Flush; the store stays usable."""
        self._session.flush()

    @property
    def version(self) -> int:
        """Number of the version that this handle shows. It changes by `refresh`, and by what this handle commits.

        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_dataset("monday")
        >>> store.flush()
        >>> store.version
        1
        """
        return self._session.catalog.version

    def refresh(self) -> int:
        """Move this handle to the latest version, whoever made it, and return its number.

        What is pending stays pending, on top of that version: where another writer has changed the same, the next
        `flush` replaces it, cell by cell of what was written here.

        Raises `ConflictError` (RuntimeError) where what is pending changes a dataset or array that another writer has
        deleted: nothing has changed then.

        >>> store, other = atlas.Atlas.create(path), atlas.Atlas.open(path)
        >>> _ = other.create_dataset("monday")
        >>> other.flush()
        >>> store.dataset_exists("monday"), store.refresh(), store.dataset_exists("monday")
        (False, 1, True)
        """
        return self._session.refresh()

    def history(self) -> list[Version]:
        """Return the versions that are kept up to the one shown, oldest first: when and how each came about.

        Raises `CorruptStoreError` (RuntimeError) where a commit is damaged or missing, `StaleHandleError`
        (RuntimeError) where the version shown is no longer kept.

        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_dataset("monday")
        >>> store.flush(message="the first day")
        >>> [(version.version, version.action, version.created, version.message) for version in store.history()]
        [(0, 'create', 0, None), (1, 'flush', 1, 'the first day')]
        """
        return self._session.history()

    def rollback(self, version: int, message: str | None = None) -> int:
        """Commit a new version that holds what `version` held, and return its number. Nothing of the history is lost.

        Raises `VersionNotFoundError` (KeyError) where it is not kept, `InvalidValueError` (ValueError) where something
        is pending, `ConflictError` (RuntimeError) where another writer has committed since the version shown.

        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_dataset("monday")
        >>> store.flush()
        >>> store.rollback(0)
        2
        >>> store.list_datasets()
        []
        """
        if not (message is None or isinstance(message, str)):
            raise InvalidTypeError(f"a message is a str, not {type(message).__name__}")
        return self._session.rollback(_version_number(version), message)

    def compact(self, keep_versions: int = 1, keep_days: float = 1.0) -> int:
        """Flush, rewrite every array's live data as one segment, and remove what no version needs that is kept.

        Kept are the last `keep_versions` versions, and those that were the latest at some moment of the last
        `keep_days` days, so that handles opened since read on. `compact(keep_days=0)` keeps the latest alone and gives
        all space back at once; a handle that shows an earlier one then raises `StaleHandleError`. May run while
        others write, who lose nothing.

        Returns the bytes reclaimed. Raises what `flush` raises, and `InvalidValueError` (ValueError) for numbers out
        of range.
        """
        return self._session.compact(keep_versions, keep_days)

    def verify(self, *, repair: bool = False, export: Any = None, progress: Any = None) -> VerifyReport:
        """Read everything of the version that this handle shows and report each damaged piece; pending writes are left.

        See `atlas.verify`, which does the same for a store that cannot be opened.

        >>> atlas.Atlas.create(path).verify().ok
        True
        """
        target = None if export is None else open_storage(export, create=True)
        with self._session.locks.state:
            known = KnownVersion.of(self._session.catalog, self._session.log)
        return verify_storage(
            known.log.storage, known, repair=repair, target=target, progress=progress, limits=known.log.limits
        )

    # For the xarray layer and views

    def discard_dataset(self, name: str) -> None:
        """Forget a dataset that this handle created and has not flushed, with all that is pending of it."""
        self._session.writer.discard_dataset(name)

    def _schema(
        self,
        dtype: Any,
        dims: Sequence[str],
        shape: Sequence[int],
        chunk_shape: Sequence[int] | None,
        fill_value: Any,
    ) -> ArraySchema:
        """Check a declaration. Fleets declare the same thousands of times: what was checked once is known."""
        key: tuple[object, ...] | None = None
        try:
            chunk = None if chunk_shape is None else tuple(chunk_shape)
            key = (
                dtype, tuple(dims), tuple(shape), chunk, type(dims), type(fill_value), repr(fill_value),
                *map(type, shape), *map(type, chunk or ()),
            )  # fmt: skip
            known = self._schemas.get(key)
        except TypeError:
            known = None
        if known is None:
            known = make_schema(dtype, dims, shape, chunk_shape, fill_value)
            if key is not None:
                if len(self._schemas) >= 1024:
                    self._schemas.clear()
                self._schemas[key] = known
        return known


def verify(source: Any, *, repair: bool = False, export: Any = None, progress: Any = None) -> VerifyReport:
    """Read everything of the store at `source` and report each damaged piece by file, array, dataset and chunk.

    Every document, index and block is checked against its checksum, every chunk decoded and its statistics counted
    anew. The store need not open. Nothing is changed but by `repair=True`, which writes a checkpoint anew that is
    missing or damaged where the commits hold all of it, and drops nothing. Everything that is whole is written as a new
    store to `export`, a path or obstore handle where there is none; what is left out is in the report. `progress` is a
    function of (done, total) bytes, or True for a bar on stderr.

    Raises `StoreNotFoundError` (FileNotFoundError) where there is no store, `StoreExistsError` (FileExistsError) where
    there is one to export to. A file that cannot be read is no error but damage.
    """
    target = None if export is None else open_storage(export, create=True)
    limits = runtime_limits.DEFAULT
    return verify_storage(open_storage(source), repair=repair, target=target, progress=progress, limits=limits)


_reopened: dict[tuple[str, int, bool, Limits], Atlas] = {}
_reopened_lock = ForkSafeLock()


def _reopen(storage: Storage, version: int, limits: Limits) -> Atlas:
    """Return the handle that this process has for a pickled one, opening the store the first time."""
    key = (f"{os.getpid()}:{storage.durable}:{storage.token}", version, storage.single_writer, limits)
    with _reopened_lock:
        store = _reopened.get(key)
        # One that has moved on, or has changes of its own, is no longer what was pickled.
        if store is None or store._session.pending or store.version != version:  # noqa: SLF001 - a handle of this class
            try:
                store = _reopened[key] = Atlas(Session(*CommitLog.open(storage, version, limits)))
            except VersionNotFoundError as error:
                raise StaleHandleError(f"a pickled handle cannot be opened: {error}; open the store again") from error
        return store
