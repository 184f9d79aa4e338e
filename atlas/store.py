"""`Atlas`: a store of many datasets. Checks options and leaves the rest to `session`, `xarray` and `storage`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import atlas.xarray
from atlas.commit.commit_log import CommitLog
from atlas.commit.creation import create_store
from atlas.dataset import DatasetView
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.config import StoreConfig
from atlas.format.documents import parse_encoding
from atlas.format.names import check_names
from atlas.maintenance.description import describe
from atlas.runtime.limits import limits_or_default
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
    from atlas.maintenance.description import StoreDescription
    from atlas.runtime.limits import Limits
    from atlas.verification import VerifyReport

__all__ = ["Atlas", "verify"]


def _choice(what: str, value: object, choices: Mapping[str, str]) -> str:
    """Return the option that `value` names, in any case; `choices` maps names to options."""
    remedy = f"use one of {', '.join(choices)}"
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} must be a str, not {type(value).__name__} {value!r}; {remedy}")
    if value.lower() not in choices:
        raise InvalidValueError(f"unknown {what} {value!r}; {remedy}")
    return choices[value.lower()]


def _version_number(version: object) -> int:
    if isinstance(version, bool) or not isinstance(version, int | np.integer):
        raise InvalidTypeError(f"a version is a whole number that history() lists, not {version!r}")
    return int(version)


def _check_message(message: object) -> None:
    if not (message is None or isinstance(message, str)):
        raise InvalidTypeError(f"a message is a str, not {type(message).__name__}; pass str(...) of it, or None")


class Atlas:
    """A store of datasets that look alike.

    Writes are kept in memory until `flush`, which commits everything that is pending, or fails and changes nothing on
    disk. As a context manager a store is flushed on every exit. Many threads may use one handle. It pickles as location
    and version, and the process that loads it opens the store at that version, each version only once.
    """

    def __init__(self, session: Session) -> None:
        """Use `Atlas.create` or `Atlas.open`."""
        self._session = session

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
        "none", "byteshuffle" or "bitshuffle". Names are case-insensitive. `overwrite=True` replaces an
        existing store and all its data. `durable=False` is for stores that you can lose: see `open`.
        `single_writer=True` asserts that no other process writes to the store; needed only where the storage lacks
        atomic put-if-absent. `limits` are the sizes of buffers, caches and documents, None for the defaults.

        Raises `StoreExistsError` (FileExistsError), `InvalidValueError` (ValueError) for an unknown name,
        `InvalidTypeError` (TypeError) for an option of the wrong type, `StorageError` (OSError) where the storage
        cannot be written to, and `ConditionalPutError`, a `StorageError`, where it lacks atomic put-if-absent.
        """
        config = StoreConfig(
            _choice("codec", codec, {name: name for name in CODECS} | {"uncompressed": "none"}),
            _choice("filter", filter, {"auto": "auto"} | {name: name for name in FILTERS}),
            parse_encoding(meta_format, meta_compression),
        )
        sizes = limits_or_default(limits)
        storage = open_storage(source, create=True, durable=durable, single_writer=single_writer)
        return cls(Session(*create_store(storage, config, overwrite=overwrite, limits=sizes)))

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

        `version` opens an earlier version, one that `history` lists. See `create` for `single_writer`, which
        reading never needs, and `limits`.

        With `durable=False` this handle never waits for the disk. Flushes stay atomic, and a process that is killed
        loses nothing that was flushed; but a power cut or a crash of the system may lose or damage the last flushes, or
        leave a store that cannot be opened. The option belongs to the handle, not to the store, is pickled with it, and
        has no effect on object stores. Checksums are written and checked all the same.

        Raises `StoreNotFoundError` (FileNotFoundError), `VersionNotFoundError` (KeyError) for a version that does not
        exist or is no longer kept, `UnsupportedFormatError` (RuntimeError) for a store of a later format or of another
        package, `CorruptStoreError` (RuntimeError) where its metadata is damaged.

        >>> with atlas.Atlas.create(path) as store:
        ...     _ = store.create_dataset("monday")
        >>> atlas.Atlas.open(path)
        <Atlas datasets=1>
        >>> atlas.Atlas.open(path, version=0)
        <Atlas datasets=0>
        """
        wanted, sizes = None if version is None else _version_number(version), limits_or_default(limits)
        storage = open_storage(source, durable=durable, single_writer=single_writer)
        return cls(Session(*CommitLog.open(storage, wanted, sizes)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Atlas, (self._session,)

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

        A name is any non-empty string without `/` that does not begin with `_` and is not `.` or `..`.

        Raises `DatasetExistsError` (FileExistsError) or `InvalidNameError` (ValueError).
        """
        self._session.writer.create_dataset(name)
        return DatasetView(self._session, name)

    def create_datasets(self, names: Sequence[str]) -> list[DatasetView]:
        """Create many datasets, all of them or none. See `create_dataset` for the errors.

        >>> store = atlas.Atlas.create(path)
        >>> store.create_datasets(["monday", "tuesday"])
        [<DatasetView name="monday" arrays=0>, <DatasetView name="tuesday" arrays=0>]
        """
        wanted = check_names("names", names)
        self._session.writer.create_datasets(wanted)
        return [DatasetView(self._session, name) for name in wanted]

    def open_dataset(self, name: str) -> DatasetView:
        """Return an existing dataset. Raises `DatasetNotFoundError` (KeyError)."""
        self._session.view.entries(name)
        return DatasetView(self._session, name)

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
        """Return whether the store has a dataset of that name."""
        return self._session.view.exists(name)

    def describe(self) -> StoreDescription:
        """Return what the store holds, without pending changes, and the bytes that each array takes; reads no cells.

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

        Raises `InvalidValueError` (ValueError) for no names or shapes that differ, `DatasetNotFoundError` or
        `ArrayNotFoundError` (KeyError) where a dataset or one of its variables is missing.
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
        (ValueError) for no names or a box that leaves one of the arrays.

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

        Raises `DatasetNotFoundError` or `ArrayNotFoundError` (KeyError), `InvalidValueError` (ValueError) for no names,
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
        see `DatasetView.define_array` for the others. Writes all or nothing.

        Raises `DatasetNotFoundError` (KeyError), `ArrayExistsError` (FileExistsError), `InvalidValueError` (ValueError)
        where `data` does not have one row for each name, and what `DatasetView.define_array` raises.

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
                f"data must be an ndarray with one row for each of the {len(wanted)} datasets, not of {shape}; "
                "np.stack makes one of a list of arrays"
            )
        names = [f"dim_{axis}" for axis in range(data.ndim - 1)] if dims is None else dims
        schema = self._session.schemas.make(data.dtype, names, data.shape[1:], chunk_shape, fill_value)
        self._session.writer.write_stacked(array, wanted, data, schema)

    # Durability and versions

    def flush(self, message: str | None = None) -> None:
        """Commit everything that is pending: one segment for each array name and one commit, however many datasets.

        The new version includes what other writers have committed since, and this handle then shows it. `message` is
        kept with it, for `history`.

        Raises `StorageError` (OSError), or `ConflictError` (RuntimeError) where another writer has changed the same
        chunk, array, attribute or name since this handle's version: the store is then unchanged, and what is pending is
        kept.
        """
        _check_message(message)
        self._session.flush(message)

    def close(self) -> None:
        """Flush. The handle stays usable. Raises what `flush` raises."""
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
        """Move this handle to the latest version, of any writer, and return its number.

        What is pending stays pending, on top of that version: where another writer has changed the same, the next
        `flush` replaces their change, of chunks only the cells that were written here.

        Raises `ConflictError` (RuntimeError) where what is pending changes a dataset or array that another writer has
        deleted: the handle is then unchanged.

        >>> store, other = atlas.Atlas.create(path), atlas.Atlas.open(path)
        >>> _ = other.create_dataset("monday")
        >>> other.flush()
        >>> store.dataset_exists("monday"), store.refresh(), store.dataset_exists("monday")
        (False, 1, True)
        """
        return self._session.refresh()

    def history(self) -> list[Version]:
        """Return the versions that are kept up to the one shown, oldest first: when and how each was made.

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
        """Commit a new version that holds what `version` held, and return its number. History is kept.

        Raises `VersionNotFoundError` (KeyError) where it is not kept, `InvalidValueError` (ValueError) where changes
        are pending, `ConflictError` (RuntimeError) where another writer has committed since the version shown.

        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_dataset("monday")
        >>> store.flush()
        >>> store.rollback(0)
        2
        >>> store.list_datasets()
        []
        """
        _check_message(message)
        return self._session.rollback(_version_number(version), message)

    def compact(self, keep_versions: int = 1, keep_days: float = 1.0) -> int:
        """Flush, rewrite the live chunks of each array name as one segment, and remove unneeded files.

        Kept are the last `keep_versions` versions, and those that were the latest at some moment of the last
        `keep_days` days, so that handles opened since stay readable. `compact(keep_days=0)` keeps only the latest and
        frees all space at once; a handle that shows an earlier one then raises `StaleHandleError`. Other writers may
        write meanwhile, and lose nothing.

        Returns the bytes reclaimed. Raises what `flush` raises, `InvalidTypeError` (TypeError) and `InvalidValueError`
        (ValueError) for numbers of the wrong type or out of range.
        """
        return self._session.compact(keep_versions, keep_days)

    def verify(self, *, repair: bool = False, export: Any = None, progress: Any = None) -> VerifyReport:
        """Read the whole version that this handle shows and report all damage; pending changes are left out.

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

    # For the xarray layer

    def discard_dataset(self, name: str) -> None:
        """Drop a dataset that this handle created and has not flushed, with its pending writes."""
        self._session.writer.discard_dataset(name)


def verify(source: Any, *, repair: bool = False, export: Any = None, progress: Any = None) -> VerifyReport:
    """Read everything of the store at `source` and report all damage by file, array, dataset and chunk.

    Checks every document, index and block against its checksum, decodes every chunk and recomputes its statistics. The
    store may be too damaged to open. Only `repair=True` changes it: it rewrites a missing or damaged checkpoint where
    the commits hold all of its contents. `export`, a path or obstore handle without a store, gets a new store with
    everything that is whole; the report names what is left out. `progress` is a function of (done, total) bytes, or
    True for a bar on stderr.

    Raises `StoreNotFoundError` (FileNotFoundError) where there is no store, `StoreExistsError` (FileExistsError) where
    `export` has one. A file that cannot be read is reported as damage.
    """
    target = None if export is None else open_storage(export, create=True)
    limits = limits_or_default(None)
    return verify_storage(open_storage(source), repair=repair, target=target, progress=progress, limits=limits)
