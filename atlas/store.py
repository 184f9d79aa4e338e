"""`Atlas`: a store of many datasets. Checks options and leaves the rest to `session`, `xarray` and `storage`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import atlas.ingest
import atlas.many
import atlas.xarray
from atlas.chunking.ragged import check_row_sizes
from atlas.commit.commit_log import CommitLog
from atlas.commit.creation import create_store
from atlas.dataset import DatasetView
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.attribute_keys import is_hidden
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.config import StoreConfig
from atlas.format.documents import parse_encoding
from atlas.format.names import check_names
from atlas.read.cache_pool import pool_for
from atlas.runtime.arguments import parse_choice
from atlas.runtime.limits import limits_or_default
from atlas.session import Session
from atlas.storage import open_storage
from atlas.verification import KnownVersion, verify_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Literal, Self

    import xarray as xr
    from numpy.typing import NDArray

    from atlas.catalog.attribute_values import AttributeColumn
    from atlas.format.block_types import Codec, Filter
    from atlas.format.documents import MetaCompression, MetaFormat
    from atlas.format.versions import Version
    from atlas.ingest.options import Encoding, Groups, IfExists, OnError, OnUnsupported, ReportFile, Sources
    from atlas.ingest.report import IngestReport
    from atlas.maintenance.compaction_report import CompactionReport
    from atlas.maintenance.description import StoreDescription
    from atlas.many.blocks import Chunks
    from atlas.many.options import Combine, FeatureType, Join, Missing
    from atlas.many.windows import Positions
    from atlas.read.ragged_array import RaggedArray
    from atlas.read.statistics_columns import ArrayStatsColumns
    from atlas.runtime.limits import Limits
    from atlas.storage import StoreSource
    from atlas.verification import Progress, VerifyReport

__all__ = ["Atlas", "session_of", "verify"]


def _is_read_only(mode: object) -> bool:
    if isinstance(mode, str) and mode in ("r", "r+"):
        return mode == "r"
    raise InvalidValueError(f'mode is "r+" to read and write or "r" to read, not {mode!r}; Atlas.create makes a store')


def _version_number(version: object) -> int:
    # NumPy counts timedelta64 among the integers.
    if isinstance(version, bool | np.timedelta64) or not isinstance(version, int | np.integer):
        mode = f"; for the mode, write mode={version!r}" if isinstance(version, str) else ""
        raise InvalidTypeError(f"a version is a whole number that history() lists, not {version!r}{mode}")
    return int(version)


def _check_message(message: object) -> None:
    if not (message is None or isinstance(message, str)):
        raise InvalidTypeError(f"a message is a str, not {type(message).__name__}; pass str(...) of it, or None")


class Atlas:
    """A store of datasets that look alike: a mapping from names to datasets.

    `store["monday"]` is a dataset, `"monday" in store` tells whether there is one, `len(store)` counts them,
    `list(store)` gives their names in the order they were created, and `del store["monday"]` removes one. A handle is
    always true, however many datasets its store has.

    Writes are kept in memory until `flush`, which commits everything that is pending, or fails and changes nothing on
    disk. As a context manager a store is flushed on every exit. Many threads may use one handle. It pickles as location
    and version, and the process that loads it opens the store at that version, each version only once.

    Examples
    --------
    >>> with atlas.Atlas.create(path) as store:
    ...     monday = store.create_dataset("monday")
    ...     monday.define_array("depth", "float32", ["x"], [3], fill_value=float("nan"))
    ...     monday["depth"][:2] = [1.5, 2.5]
    >>> store = atlas.Atlas.open(path, mode="r")
    >>> list(store), len(store), "tuesday" in store
    (['monday'], 1, False)
    >>> store["monday"]["depth"][::-1]
    array([nan, 2.5, 1.5], dtype=float32)

    """

    if TYPE_CHECKING:
        _session: Session

    def __init__(self, *_: object, **__: object) -> None:
        """Use `Atlas.create` or `Atlas.open`."""
        raise InvalidTypeError("Atlas(...) makes no store; call Atlas.open(path) or Atlas.create(path)")

    # Opening

    @classmethod
    def create(
        cls,
        source: StoreSource,
        codec: Codec = "zstd",
        meta_format: MetaFormat = "json",
        meta_compression: MetaCompression = "none",
        *,
        overwrite: bool = False,
        filter: Filter = "auto",  # noqa: A002 - the field's term
        durable: bool = True,
        single_writer: bool = False,
        limits: Limits | None = None,
        cache_bytes: int | None = None,
    ) -> Self:
        """Create an empty store.

        Parameters
        ----------
        source : str, os.PathLike or obstore handle
            Where: a folder (`~` is expanded; missing folders are made), or a bucket behind a handle such as
            `obstore.store.S3Store`.
        codec : {"zstd", "lz4", "none", "uncompressed"}, default "zstd"
            How cells are compressed. All names here are the same in upper and lower case.
        meta_format : {"json", "msgpack", "mp"}, default "json"
            How documents with names, schemas and attributes are written.
        meta_compression : {"none", "uncompressed", "zstd", "lz4"}, default "none"
            How documents are compressed.
        overwrite : bool, default False
            Replace an existing store and all its data.
        filter : {"auto", "none", "byteshuffle", "bitshuffle", "decimal", "delta", "decimaldelta"}, default "auto"
            What becomes of cells before compression; "auto" chooses for each array and flush by trial. "decimal" and
            "decimaldelta" are for floats, "delta" for integers and times; other arrays are byte-shuffled then.
        durable : bool, default True
            False is for stores that you can lose: see `open`.
        single_writer : bool, default False
            Assert that no other process writes to the store; needed only where the storage lacks atomic put-if-absent.
        limits : atlas.Limits, optional
            Sizes of buffers and documents; None for the defaults.
        cache_bytes : int, optional
            Bytes of decoded blocks that this handle keeps for later reads, see `open`.

        Returns
        -------
        Atlas
            A handle that reads and writes.

        Raises
        ------
        StoreExistsError
            (FileExistsError) where there is a store already.
        InvalidValueError
            (ValueError) for an unknown name.
        InvalidTypeError
            (TypeError) for an option of the wrong type.
        StorageError
            (OSError) where the storage cannot be written to; `ConditionalPutError` where it lacks atomic put-if-absent.

        """
        sizes, pool = limits_or_default(limits), pool_for(cache_bytes)
        config = StoreConfig(
            parse_choice("codec", codec, {name: name for name in CODECS} | {"uncompressed": "none"}),
            parse_choice("filter", filter, {"auto": "auto"} | {name: name for name in FILTERS}),
            parse_encoding(meta_format, meta_compression),
            sizes.pack_commits,
        )
        storage = open_storage(source, create=True, durable=durable, single_writer=single_writer)
        return cls._of(Session(*create_store(storage, config, overwrite=overwrite, limits=sizes), pool=pool))

    @classmethod
    def open(
        cls,
        source: StoreSource,
        version: int | None = None,
        *,
        mode: Literal["r+", "r"] = "r+",
        durable: bool = True,
        single_writer: bool = False,
        limits: Limits | None = None,
        cache_bytes: int | None = None,
    ) -> Self:
        """Open a store as it was last flushed.

        Parameters
        ----------
        source : str, os.PathLike or obstore handle
            Where the store is, see `create`.
        version : int, optional
            An earlier version to open, one that `history` lists; the latest without it.
        mode : {"r+", "r"}, default "r+"
            "r+" reads and writes. "r" reads: every change raises `ReadOnlyError`.
        durable : bool, default True
            With False this handle never waits for the disk. Flushes stay atomic, and a process that is killed loses
            nothing that was flushed; but a power cut or a crash of the system may lose or damage the last flushes, or
            leave a store that cannot be opened. The option belongs to the handle, not to the store, is pickled with it,
            and has no effect on object stores. Checksums are written and checked all the same.
        single_writer : bool, default False
            See `create`; reading never needs it.
        limits : atlas.Limits, optional
            Sizes of buffers; None for the defaults.
        cache_bytes : int, optional
            Bytes of decoded blocks that this handle keeps for later reads, 0 for none. Without it all handles of the
            process share `ATLAS_CACHE_BYTES` bytes, by default an eighth of the memory at hand up to 256 MiB. They are
            given back when the handle is closed or its last reference goes. The option is pickled with the handle.

        Raises
        ------
        StoreNotFoundError
            (FileNotFoundError) where there is no store.
        VersionNotFoundError
            (KeyError) for a version that does not exist or is no longer kept.
        UnsupportedFormatError
            (RuntimeError) for a store of a later format or of another package, or that needs a feature of a later
            release.
        CorruptStoreError
            (RuntimeError) where its metadata is damaged.
        InvalidValueError
            (ValueError) for another mode, for a URL as text, or where `cache_bytes` or `ATLAS_CACHE_BYTES` is no number
            of bytes.

        Examples
        --------
        >>> with atlas.Atlas.create(path) as store:
        ...     _ = store.create_dataset("monday")
        >>> atlas.Atlas.open(path)
        <Atlas datasets=1>
        >>> atlas.Atlas.open(path, version=0)
        <Atlas datasets=0>

        """
        wanted, sizes = None if version is None else _version_number(version), limits_or_default(limits)
        read_only, pool = _is_read_only(mode), pool_for(cache_bytes)
        storage = open_storage(source, durable=durable, single_writer=single_writer)
        return cls._of(Session(*CommitLog.open(storage, wanted, sizes), read_only=read_only, pool=pool))

    @classmethod
    def _of(cls, session: Session) -> Self:
        store = cls.__new__(cls)
        store._session = session  # noqa: SLF001 - of this class
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of, (self._session,)  # noqa: SLF001 - of this class

    def __repr__(self) -> str:
        return f"<Atlas datasets={len(self)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, on every exit."""
        self.close()

    # As a mapping of names

    def __getitem__(self, name: str) -> DatasetView:
        """Return a dataset, as `open_dataset` does. Raises `DatasetNotFoundError` (KeyError)."""
        return self.open_dataset(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._session.view.exists(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_datasets())

    def __len__(self) -> int:
        return self._session.view.count()

    def __bool__(self) -> bool:
        """Return True, for an empty store too: programs test whether they have a handle."""
        return True

    def __delitem__(self, name: str) -> None:
        """Remove a dataset, as `delete_dataset` does. Raises `DatasetNotFoundError` (KeyError)."""
        self.delete_dataset(name)

    def _ipython_key_completions_(self) -> list[str]:
        return self.list_datasets()

    # Datasets

    def create_dataset(self, name: str) -> DatasetView:
        """Create a dataset, in memory until `flush`.

        Parameters
        ----------
        name : str
            Any non-empty text without `/` that does not begin with `_` and is not `.` or `..`.

        Raises
        ------
        DatasetExistsError
            (FileExistsError) where the store has a dataset of that name.
        InvalidNameError
            (ValueError) for a name that cannot be stored.

        """
        self._session.writer.create_dataset(name)
        return DatasetView(self._session, name)

    def create_datasets(self, names: Sequence[str]) -> list[DatasetView]:
        """Create many datasets, all of them or none.

        Parameters
        ----------
        names : sequence of str
            Their names. See `create_dataset` for rules and errors.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> store.create_datasets(["monday", "tuesday"])
        [<DatasetView name="monday" arrays=0>, <DatasetView name="tuesday" arrays=0>]

        """
        wanted = check_names("names", names)
        self._session.writer.create_datasets(wanted)
        return [DatasetView(self._session, name) for name in wanted]

    def open_dataset(self, name: str) -> DatasetView:
        """Return an existing dataset.

        Parameters
        ----------
        name : str
            Its name.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where the store has none of that name.

        """
        self._session.view.check_exists(name)
        return DatasetView(self._session, name)

    def delete_dataset(self, name: str) -> None:
        """Remove a dataset, on disk at the next `flush`.

        Parameters
        ----------
        name : str
            Its name. Earlier versions keep the dataset, and its space, until `compact` removes them.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where the store has none of that name.

        """
        self._session.writer.delete_dataset(name)

    def list_datasets(self) -> list[str]:
        """Return the names of all datasets, in the order they were created."""
        return self._session.view.dataset_names()

    def list_arrays(self) -> list[str]:
        """Return the distinct array names over all datasets, sorted."""
        return self._session.view.array_names()

    def dataset_exists(self, name: str) -> bool:
        """Return whether the store has a dataset of that name.

        Parameters
        ----------
        name : str
            The name.

        """
        return self._session.view.exists(name)

    def describe(self) -> StoreDescription:
        """Return what the store holds, without pending changes, and the bytes that each array takes; reads no cells.

        Examples
        --------
        >>> atlas.Atlas.create(path).describe().codec
        'zstd'

        """
        return self._session.describe()

    # xarray

    def add_xr_dataset(
        self, ds: xr.Dataset, name: str, chunks: Mapping[str, int | Sequence[int]] | None = None
    ) -> None:
        """Append an xarray dataset as a new dataset, all of it or nothing; does not flush.

        Each coordinate and data variable becomes an array. Dask-backed variables are written block by block and chunked
        alike on disk.

        Parameters
        ----------
        ds : xarray.Dataset
            The dataset.
        name : str
            Name of the new dataset. See `create_dataset`.
        chunks : mapping of str to int or sequence of int, optional
            Lengths of chunks by dimension, such as `{"time": 24}`, and chunk shapes by variable, such as `{"t": [24,
            50]}`, which come first; in cells. Other variables are chunked like their dask array, or are one chunk.

        Raises
        ------
        DatasetExistsError
            (FileExistsError) where the store has a dataset of that name.
        UnsupportedDtypeError
            (NotImplementedError) for a dtype that is not stored; names the variable and what to convert it to.
        InvalidValueError, InvalidTypeError, OutOfRangeError
            What `DatasetView.define_array` raises; and for a block that is not as dask declared it.

        Warns
        -----
        UserWarning
            Where an `encoding` holds a value that cannot be stored, such as a codec object of zarr.

        """
        atlas.xarray.add(self._session, atlas.xarray.contents_of(ds), name, chunks=chunks)

    def replace_dataset(
        self, name: str, ds: xr.Dataset, chunks: Mapping[str, int | Sequence[int]] | None = None
    ) -> None:
        """Put an xarray dataset in the place of a dataset, all of it or nothing; does not flush.

        The new one has nothing of the old, and its place in `list_datasets` and all selections. The old one, with what
        is pending of it, goes once everything is written: `ds` may be computed from it. Earlier versions keep it.

        Parameters
        ----------
        name : str
            Name of the dataset to replace.
        ds : xarray.Dataset
            What replaces it.
        chunks : mapping of str to int or sequence of int, optional
            See `add_xr_dataset`.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where the store has none of that name.
        UnsupportedDtypeError, InvalidValueError, InvalidTypeError, OutOfRangeError
            What `add_xr_dataset` raises. The dataset is then as it was.

        `flush` raises `ConflictError` where another writer has changed or replaced the dataset since this handle's
        version.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> for name in ("monday", "tuesday"):
        ...     store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0, 2.0])}), name)
        >>> store.replace_dataset("monday", store.to_xarray("monday") + 1)
        >>> store.list_datasets(), store.to_xarray("monday")["t"].values
        (['monday', 'tuesday'], array([2., 3.]))

        """
        atlas.xarray.replace(self._session, atlas.xarray.contents_of(ds), name, chunks=chunks)

    def add_many(
        self,
        sources: Sources,
        *,
        names: Callable[[Path], str] | None = None,
        pattern: str | None = None,
        follow_links: bool = False,
        engine: str | None = None,
        drop: Sequence[str] = (),
        chunks: Mapping[str, int] | None = None,
        raw: bool = False,
        if_exists: IfExists = "error",
        on_error: OnError = "raise",
        on_unsupported: OnUnsupported = "raise",
        resume: bool = True,
        flush_every: str = "5 min",
        overwrite: bool = False,
        workers: int = 1,
        timeout: float = 600.0,
        split: str | None = None,
        split_by: str | None = None,
        groups: Groups = "refuse",
        encoding: Encoding = "keep",
        progress: bool | Callable[[IngestReport], None] = False,
        report: ReportFile | None = None,
    ) -> IngestReport:
        """Add files, one dataset for each, or datasets of xarray, and commit as it goes.

        Files are NetCDF, Zarr stores, and what other engines of xarray read.

        Each file is read in a process of its own, which it may crash without taking the rest along, and is stored whole
        or not at all. What was read is committed early at first, then as `flush_every` says, and at the end; the same
        call goes on where an interrupted one was. A dataset keeps where it came from: path, size, time and digest.

        Parameters
        ----------
        sources : path, pattern, sequence of them, mapping of str to xr.Dataset, or iterable of pairs (str, xr.Dataset)
            Folders, which are searched with what is below them; files; and patterns such as `"data/*.nc"`; URLs of
            https, http and s3, with "/" at the end for all files below. A folder that is a Zarr store counts as a file.
            Datasets with their names are added in this process; of an iterator one is taken at a time, and the options
            `drop`, `raw`, `on_unsupported`, `resume`, `workers`, `timeout` and those from `names` to `engine` are not
            for them.
        names : callable, optional
            Returns the name of a dataset; gets the path of a file below its folder without the suffix. Without it, the
            path with "." for "/".
        pattern : str, optional
            A shell pattern for the names of files in folders. Without it, files of the suffixes .nc, .nc3, .nc4, .cdf
            and .netcdf, and Zarr stores, are taken.
        follow_links : bool, default False
            Whether to search folders that links lead to.
        engine : str, optional
            The engine of xarray that reads all sources, such as "h5netcdf" or "cfgrib"; with `pattern`, where their
            suffix is none of these.
        drop : sequence of str, default ()
            Variables to leave out.
        chunks : mapping of str to int, optional
            Lengths of chunks by dimension, in cells; dimensions that a file lacks are ignored.
        raw : bool, default False
            Whether to keep packed values, missing values and times as they are in the files.
        if_exists : {"error", "skip", "replace", "update"}, default "error"
            What to do with a file whose name the store has from elsewhere, or from an earlier form of the file.
            "replace" puts it in the place of that dataset, as `replace_dataset` does; "update" does so where the
            dataset came from the same path, and fails otherwise. A file that cannot be stored leaves the dataset as it
            is.
        on_error : {"raise", "skip"}, default "raise"
            Whether a file that cannot be stored ends the call, or the others go on.
        on_unsupported : {"raise", "drop", "raw"}, default "raise"
            Whether a variable that is not stored, of a compound dtype or of lists, fails its file or is left out; with
            "raw" one that cannot be decoded, such as numbers scaled by a text, keeps the cells of its file.
        resume : bool, default True
            Whether to pass over files that the store has already, unchanged, whatever `if_exists` says.
        flush_every : str, default "5 min"
            How much to add before it is committed: a number of "s", "min", "h", "files", "KiB", "MiB" or "GiB".
        overwrite : bool, default False
            Whether what is added replaces everything in the store, in one commit at the end. Until then, where that is
            not reached, and where no source is stored, the store stays as it was; afterwards its history has it.
        workers : int, default 1
            Processes that read.
        timeout : float, default 600
            The longest time that reading a file, or one block of a large variable, may take, in seconds.
        split : str, optional
            A dimension: each of its positions becomes a dataset, named by the label of the position after the name of
            the whole and a dot. Ragged arrays of CF are followed. Of each source all cells are in memory then.
        split_by : str, optional
            A variable with one value for each position of a dimension: each value becomes a dataset and its label.
        groups : {"refuse", "flatten"}, default "refuse"
            Whether a NetCDF file with groups fails, or is stored with the names of groups before those of what is in
            them, joined by "__".
        encoding : {"keep", "drop"}, default "keep"
            Whether datasets keep how their files pack, compress and chunk variables, so that `to_netcdf` writes such
            files again. Cells, and what is missing, are the same without.
        progress : bool or callable, default False
            Whether to show a bar on stderr, or a line every 30 seconds where that is no terminal; or a function that is
            called with the report after each source.
        report : path, optional
            A file to write the report to, as JSON, also where the call raises.

        Returns
        -------
        IngestReport
            What became of each source, which files and links were passed over, and the versions committed.

        Raises
        ------
        IngestError
            (ValueError) with the report as `report`, where a file or folder cannot be stored or read and `on_error` is
            "raise"; and where an iterator of datasets raises. What was read before is committed.
        InvalidTypeError
            (TypeError) for a source that is neither a path nor a name with a dataset.
        InvalidValueError
            (ValueError) for an unknown option or engine, while changes are pending, and for a source that is not there.
        MissingExtraError
            (ImportError) where netCDF4 is needed and not installed.
        StorageError
            (OSError) where a commit fails, for example on a full disk, and where the report cannot be written. Earlier
            commits stay.
        KeyboardInterrupt
            With the report as `report`, once what was read is committed.

        Examples
        --------
        >>> file = path.with_suffix(".nc")
        >>> xr.Dataset({"t": ("time", [1.0, 2.0])}).to_netcdf(file)
        >>> store = atlas.Atlas.create(path)
        >>> report = store.add_many(file, names=lambda inner: "buoy")
        >>> report.count("stored"), store.list_datasets()
        (1, ['buoy'])

        """
        search = atlas.ingest.Search(names, pattern, follow_links, engine)
        options = atlas.ingest.IngestOptions(
            drop, chunks, raw, if_exists, on_error, on_unsupported, resume, flush_every, overwrite, workers, timeout,
            split, split_by, groups, encoding,
        )  # fmt: skip
        return atlas.ingest.add_sources(self._session, sources, search, options, atlas.__version__, progress, report)

    def to_xarray(self, name: str) -> xr.Dataset:
        """Return a dataset as an `xr.Dataset`; variables stored in more than one chunk are dask-backed.

        `encoding` is that of the dataset that was added, so that `to_netcdf` writes the same file.

        Parameters
        ----------
        name : str
            Name of the dataset.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where the store has none of that name.
        InvalidValueError
            (ValueError) where two arrays give one dimension different lengths.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0, 2.0], {"units": "K"})}), "monday")
        >>> store.to_xarray("monday")["t"].units
        'K'

        """
        return atlas.xarray.to_xarray(self.open_dataset(name), self._session)

    def to_datatree(self, names: Sequence[str] | None = None, *, limit: int | None = None) -> xr.DataTree:
        """Return datasets as an `xr.DataTree`, a child of the root for each, however much they differ.

        Cells and attributes are those of `to_xarray`. All variables but indexes are read when they are used, without
        dask; `chunk()` of the tree makes dask arrays of them. Indexes are read in bulk.

        Parameters
        ----------
        names : sequence of str, optional
            Names of the datasets, in the order of the children; without it all, in the order they were created.
        limit : int, optional
            The most datasets to take, 1000 without it: each node takes about two milliseconds. For many datasets that
            look alike use `to_xarray_many`.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where the store has none of that name.
        InvalidValueError
            (ValueError) for more datasets than `limit`, for a name given twice, or where two arrays of a dataset give
            one dimension different lengths.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> store.add_xr_dataset(xr.Dataset({"t": ("time", [1.0, 2.0])}), "buoy")
        >>> store.add_xr_dataset(xr.Dataset({"salinity": ("depth", [35.1, 35.2, 35.3])}), "float")
        >>> tree = store.to_datatree()
        >>> list(tree.children), tree["float/salinity"].mean().item()
        (['buoy', 'float'], 35.2)

        """
        return atlas.xarray.to_datatree(self, self._session, names, limit=limit)

    def to_xarray_many(
        self,
        names: Sequence[str],
        concat_dim: str = "dataset",
        parallel: bool = True,
        *,
        variables: Sequence[str] | None = None,
        join: Join | None = None,
        tolerance: float | None = None,
        missing: Missing = "raise",
        combine_attrs: str | Callable[..., Any] = "drop_conflicts",
    ) -> xr.Dataset:
        """Stack many datasets along a new dimension, whose coordinate is the names; eager.

        No cell changes its meaning. Axes are matched by the names of their dimensions. Packed values and dates whose
        packing, fill value or reference date differs are decoded; other units, calendars, flags and kinds of dtype
        that differ are refused by name. A coordinate that is equal in all datasets is kept once. One that differs gets
        the new dimension; labels of an axis then have no index until one dataset is selected. Of `encoding` the result
        has what is equal in all datasets.

        Parameters
        ----------
        names : sequence of str
            Names of the datasets.
        concat_dim : str, default "dataset"
            Name of the new dimension.
        parallel : bool, default True
            Read several variables at a time.
        variables : sequence of str, optional
            The variables to take, with the coordinates along their axes; all without it.
        join : {"exact", "outer", "inner", "override"}, optional
            What to do where labels of an axis differ: refuse, align to the union or the intersection of the labels, or
            take the first dataset's. Without it each dataset keeps its own.
        tolerance : float, optional
            Largest difference between numbers of coordinates that count as equal, in their unit.
        missing : {"raise", "drop", "fill"}, default "raise"
            What to do with a variable that some datasets lack: refuse, leave it out, or fill it with its fill value,
            else NaN, NaT or None. "fill" also fills the ends of arrays that are shorter than others; a coordinate
            `<dimension>_size` (N,) tells the lengths.
        combine_attrs : str or callable, default "drop_conflicts"
            What to do with other attributes that differ: "drop_conflicts", "drop", "identical", "no_conflicts",
            "override" or a function, as of `xarray.concat`.

        Raises
        ------
        InvalidValueError
            (ValueError) for no names, for an unknown option, and for what cannot be one variable: it names the
            variable, what differs, two datasets and what would allow it.
        DatasetNotFoundError, ArrayNotFoundError
            (KeyError) where a dataset or a variable is missing.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> for name, lat in (("north", 60.0), ("south", -60.0)):
        ...     store.add_xr_dataset(xr.Dataset({"t": ("time", [1.0, 2.0])}, {"lat": lat}), name)
        >>> store.to_xarray_many(["north", "south"])["lat"].values
        array([ 60., -60.])

        """
        options = atlas.many.StackOptions(concat_dim, variables, join, tolerance, missing, combine_attrs)
        return atlas.many.to_xarray_many(self._session, names, options, parallel=parallel)

    def open_many(
        self,
        names: Sequence[str] | str | None = None,
        *,
        combine: Combine = "stack",
        dim: str | None = None,
        variables: Sequence[str] | None = None,
        isel: Positions | None = None,
        attributes: Sequence[str] | bool = False,
        missing: Missing = "raise",
        join: Join | None = None,
        combine_attrs: str | Callable[..., Any] = "drop_conflicts",
        sort: bool = True,
        feature_type: FeatureType | None = None,
        chunks: Chunks = None,
    ) -> xr.Dataset:
        """Open many datasets as one `xr.Dataset`, lazily: stacked, concatenated, or ragged where lengths differ.

        As in `to_xarray_many`, no cell changes its meaning: what cannot be one variable is refused by name. Coordinates
        are read at once, but for those along the dimension on which datasets follow one another, of which only labels
        are. All else is read when it is needed: each selection is one read of the datasets and boxes that it takes. The
        result belongs to the version that the handle shows, whatever it shows later.

        Parameters
        ----------
        names : sequence of str, or str, optional
            Names of the N datasets; or a shell pattern, `"2024-*"`, for those that match, in the order they were
            created; all without it.
        combine : {"stack", "concat", "ragged"}, default "stack"
            "stack" puts arrays along a new dimension, (N, ...). "concat" puts datasets one after another along a
            dimension that they have, days along time; what does not lie along it must be equal in all and is taken
            once, but scalars that differ are repeated along it. "ragged" puts them one after another too, and keeps
            which cells are whose: a contiguous ragged array of the CF conventions, whose variable `row_size` (N,) tells
            how many cells each dataset has. What does not lie along that dimension is stacked.
        dim : str, optional
            Stacked, the name of the new dimension, "dataset" without it. Else the dimension along which datasets follow
            one another, the first one of its arrays; without it the only one whose lengths differ, or the only first
            one of an array. The dimension of ragged datasets is "dataset".
        variables : sequence of str, optional
            The variables to take, with the coordinates along their axes; all without it.
        isel : mapping of str to int or slice, optional
            What to take of each dataset before it becomes part of the result, by dimension: a position, or a slice of
            step 1. Negative ones count from the end of each dataset.
        attributes : sequence of str or True, optional
            Attributes and scalar arrays of the datasets that become variables along the dimension of the datasets, in
            columns of one dtype; True for all attributes. NaN, NaT or None where a dataset lacks one. Not with
            "concat".
        missing : {"raise", "drop", "fill"}, default "raise"
            What to do with a variable that some datasets lack, and stacked with arrays that are shorter than others, as
            in `to_xarray_many`.
        join : {"exact", "override"}, optional
            What to do where labels of an axis differ: refuse, or take the first dataset's. Without it each dataset
            keeps its own; concatenated, they are refused.
        combine_attrs : str or callable, default "drop_conflicts"
            What to do with other attributes that differ, as in `to_xarray_many`.
        sort : bool, default True
            Whether datasets that are concatenated are put in the order of their labels, rising or falling as they do in
            each dataset. Otherwise they follow one another as named.
        feature_type : {"profile", "timeSeries", "trajectory"}, optional
            What a ragged result is, for the attributes `featureType` and `cf_role` of the CF conventions. `to_netcdf`
            then writes for each ragged variable which coordinates it has, those of whole datasets too.
        chunks : mapping or "auto", optional
            Without it variables are indexed lazily by xarray, without dask. "auto" makes dask arrays whose blocks are
            whole datasets, as many as fit in the size that dask is configured for; a mapping gives lengths by
            dimension, those of the dimension of the datasets in datasets.

        Raises
        ------
        InvalidValueError
            (ValueError) for no names, for an unknown option, while changes are pending, and for what cannot be one
            variable: it names the variable, what differs, two datasets and what would allow it. For labels that
            overlap, where they are to be sorted.
        InvalidIndexError
            (IndexError) for a position that a dataset does not have.
        DatasetNotFoundError, ArrayNotFoundError
            (KeyError) where a dataset or a variable is missing.
        StaleHandleError
            (RuntimeError) on reading, where the version is no longer kept.

        Warns
        -----
        UserWarning
            Where labels along which datasets are concatenated have a gap: a step between two datasets longer than all
            steps inside of them, and than 1.5 times the median step. Where `sort=False` leaves them in no order.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> for name, depth in (("north", [5.0, 10.0]), ("south", [5.0, 10.0, 20.0])):
        ...     store.add_xr_dataset(xr.Dataset({"depth": ("level", depth)}, attrs={"ship": name[0]}), name)
        >>> store.flush()
        >>> profiles = store.open_many(combine="ragged", attributes=["ship"])
        >>> profiles["depth"].values, profiles["row_size"].values, profiles["ship"].values
        (array([ 5., 10.,  5., 10., 20.]), array([2, 3]), array(['n', 's'], dtype=object))

        """
        options = atlas.many.ManyOptions(
            combine, dim, variables, isel, attributes, missing, join, combine_attrs, sort, feature_type
        )
        return atlas.many.open_many(self._session, names, options, chunks)

    # Bulk reads

    def read_array_across(
        self,
        array: str,
        dataset_names: Sequence[str],
        start: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> list[NDArray[Any] | None]:
        """Return the same box of one array from many datasets, whose shapes may differ.

        Parameters
        ----------
        array : str
            Name of the array.
        dataset_names : sequence of str
            Names of the datasets.
        start, shape : sequence of int, optional
            First corner and shape of the box, in cells. See `DatasetView.read_array`.

        Returns
        -------
        list of numpy.ndarray or None
            One for each dataset, None where the dataset or its array is missing. They may be views of a larger array,
            which they keep in memory: copy what is kept alone.

        Raises
        ------
        ArrayNotFoundError
            (KeyError) where no dataset of the store has the array.
        InvalidValueError
            (ValueError) for no names, or a box that leaves one of the arrays.

        Examples
        --------
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
        """Return the same box of one array from N datasets as one array, of cells that mean the same.

        Axes are matched by the names of their dimensions, and are in the order of the first dataset named; `start` and
        `shape` count in that order. Nothing is decoded: arrays whose `units`, `calendar`, `scale_factor`,
        `add_offset`, `missing_value`, `_Unsigned`, `flag_values`, `flag_masks`, `flag_meanings` or `positive` differ
        are refused. Cells with a fill value get that of the first dataset.

        Parameters
        ----------
        array : str
            Name of the array.
        dataset_names : sequence of str
            Names of the N datasets.
        start, shape : sequence of int, optional
            First corner and shape of the box, in cells. See `DatasetView.read_array`.

        Returns
        -------
        numpy.ndarray
            Of shape (N, *box) and the dtype of the arrays.

        Raises
        ------
        DatasetNotFoundError, ArrayNotFoundError
            (KeyError) where a dataset or its array is missing.
        InvalidValueError
            (ValueError) for no names, a box that leaves the arrays, or arrays of different shape, dtype, dimensions
            or meaning, and where another fill value would change which cells are missing. `read_array_across` returns
            such arrays apart.

        Examples
        --------
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

    def read_array_across_ragged(
        self,
        array: str,
        dataset_names: Sequence[str],
        start: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> RaggedArray:
        """Return the same box of one array from N datasets, whose lengths differ, one after another in one array.

        The box is clipped to each row: it may reach past the end of an array along the first axis. As in
        `read_array_across_stacked`, cells must mean the same, nothing is decoded, and cells with a fill value get that
        of the first dataset that has the array.

        Parameters
        ----------
        array : str
            Name of the array.
        dataset_names : sequence of str
            Names of the N datasets. One that is missing, or lacks the array, has a row of size 0 and is not `present`.
        start, shape : sequence of int, optional
            First corner and shape of the box, in cells. See `DatasetView.read_array`.

        Returns
        -------
        RaggedArray
            `values` of the dtype of the arrays, (row_sizes.sum(), ...); `row_sizes`, `offsets`, `names` and `present`.

        Raises
        ------
        ArrayNotFoundError
            (KeyError) where none of the datasets has the array.
        InvalidValueError
            (ValueError) for no names; arrays of different dtype, dimensions, meaning or length along another axis than
            the first; a box that leaves one along another axis; arrays without axes; and where another fill value
            would change which cells are missing. `read_array_across` returns such arrays apart.

        Examples
        --------
        >>> with atlas.Atlas.create(path) as store:
        ...     for name, depth in {"short": [1.5], "long": [2.5, 3.5, 4.5]}.items():
        ...         dataset = store.create_dataset(name)
        ...         dataset.define_array("depth", "float64", ["level"], [len(depth)])
        ...         dataset.write_array("depth", [0], np.array(depth))
        >>> depth = store.read_array_across_ragged("depth", ["long", "none", "short"], start=[1], shape=[5])
        >>> depth.values, depth.row_sizes, depth.present
        (array([3.5, 4.5]), array([2, 0, 0]), array([ True, False,  True]))

        """
        return self._session.reader.read_ragged(array, dataset_names, start, shape)

    def array_stats_across(self, array: str, dataset_names: Sequence[str] | None = None) -> ArrayStatsColumns:
        """Return statistics of one array of many datasets as columns, as of the last flush.

        What `DatasetView.array_stats` and `ArrayView.stats` return for each dataset, from one pass over the index.
        Reads no cells but of texts of over 128 bytes. Nothing is decoded: extremes are in the units of each array.

        Parameters
        ----------
        array : str
            Name of the array.
        dataset_names : sequence of str, optional
            Names of the N datasets; without it all, in the order they were created.

        Returns
        -------
        ArrayStatsColumns
            `names`, a list, and arrays (N,): `present`, `row_count`, `null_count`, `nan_count`, `has_extremes`, `min`
            and `max`. `present` is False where `array_stats` returns None: where the dataset or its array is missing,
            new or was never written. `has_extremes` is False where no cell is left for `min` and `max`. These are
            bool, int64, uint64 or float64 by the kind of the arrays' dtype, times of the arrays' unit, or objects of
            str or bytes; where arrays differ in that, objects of Python's scalars and NumPy's times. Without extremes
            they are False, 0, NaN, NaT or None.

        Raises
        ------
        ArrayNotFoundError
            (KeyError) where no dataset of the store has the array.
        InvalidValueError
            (ValueError) for no names.

        Examples
        --------
        >>> with atlas.Atlas.create(path) as store:
        ...     for day, depths in (("monday", [3, 7]), ("tuesday", [9, 8])):
        ...         dataset = store.create_dataset(day)
        ...         dataset.define_array("depth", "int32", ["x"], [2])
        ...         dataset.write_array("depth", [0], np.array(depths, np.int32))
        >>> stats = store.array_stats_across("depth")
        >>> stats.min, stats.max
        (array([3, 8]), array([7, 9]))
        >>> [name for name, deep in zip(stats.names, stats.max > 8) if deep]
        ['tuesday']

        """
        return self._session.reader.array_stats_across(array, dataset_names)

    def attributes_across(
        self,
        dataset_names: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        array: str | None = None,
    ) -> dict[str, AttributeColumn]:
        """Return the attributes of many datasets, or of one array of each, as columns. Pending ones are included.

        Parameters
        ----------
        dataset_names : sequence of str, optional
            Names of the N datasets; without it all, in the order they were created.
        keys : sequence of str, optional
            Names of the attributes; without it all. A column of a name that no dataset has is not present anywhere.
        array : str, optional
            Name of the array whose attributes are wanted. Without it the attributes are those that
            `DatasetView.attributes` shows: of datasets and, as "array.attribute", of their arrays.

        Returns
        -------
        dict of AttributeColumn
            By name, in the order of `keys`, or in that in which a loop over the datasets would meet them. `present`
            (N,) tells which datasets have the attribute; those that are missing, or lack the array, have none. `values`
            (N,) are those of `DatasetView.attributes`: bool, int64, uint64 or float64 where all that are present are of
            one such type; text and what is mixed are objects. NumPy's times, of one unit, are times and not integers.
            Where an attribute is not present the value is False, 0, NaN, NaT or None.

        Raises
        ------
        ArrayNotFoundError
            (KeyError) where no dataset of the store has the array.
        InvalidValueError
            (ValueError) for no dataset names.
        TooLargeError
            (MemoryError) where the columns exceed the available memory.
        CorruptStoreError
            (RuntimeError) where a value is damaged.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> for at, day in enumerate(["monday", "tuesday"]):
        ...     store.create_dataset(day).set_attribute("mast", 10.0 + at)
        >>> store["tuesday"].set_attribute("station", "KNMI")
        >>> columns = store.attributes_across()
        >>> columns["mast"].values, columns["station"].present
        (array([10., 11.]), array([False,  True]))

        """
        wanted = None if keys is None else check_names("keys", keys)
        return self._session.view.attribute_columns(dataset_names, wanted, array, is_hidden)

    def write_array_across_stacked(
        self,
        array: str,
        dataset_names: Sequence[str],
        data: NDArray[Any],
        dims: Sequence[str] | None = None,
        chunk_shape: Sequence[int] | None = None,
        fill_value: float | str | np.generic | None = None,
    ) -> None:
        """Define one array in N datasets and write to them: the twin of the stacked read, all of it or nothing.

        Parameters
        ----------
        array : str
            Name of the array.
        dataset_names : sequence of str
            Names of the N datasets, which exist and lack the array.
        data : numpy.ndarray
            Of shape (N, *shape): a row for each dataset. Its dtype becomes the array's; objects are strings.
        dims : sequence of str, optional
            Names of the axes of a row; "dim_0", "dim_1", … without it.
        chunk_shape : sequence of int, optional
            Shape of a chunk, in cells; the whole row without it.
        fill_value : scalar, optional
            See `DatasetView.define_array`.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where a dataset is missing.
        ArrayExistsError
            (FileExistsError) where one has the array.
        InvalidValueError
            (ValueError) for a name given twice, or `data` without one row for each name.
        InvalidTypeError, OutOfRangeError, UnsupportedDtypeError
            What `DatasetView.define_array` raises.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> names = [f"station{at}" for at in range(1000)]
        >>> _ = store.create_datasets(names)
        >>> store.write_array_across_stacked("temperature", names, np.zeros((1000, 24), np.float32), dims=["hour"])
        >>> store.read_array_across_stacked("temperature", names[:2]).shape
        (2, 24)

        """
        wanted = check_names("dataset_names", dataset_names)
        if not isinstance(data, np.ndarray) or data.ndim == 0 or len(data) != len(wanted):
            raise InvalidValueError(
                f"data must be an ndarray with one row for each of the {len(wanted)} datasets, not of "
                f"{_shape_of(data)}; np.stack makes one of a list of arrays"
            )
        names = _axis_names(dims, data.ndim - 1)
        schema = self._session.schemas.make(data.dtype, names, data.shape[1:], chunk_shape, fill_value)
        self._session.writer.write_stacked(array, wanted, data, schema)

    def write_array_across_ragged(
        self,
        array: str,
        dataset_names: Sequence[str],
        values: NDArray[Any],
        row_sizes: Sequence[int] | NDArray[np.integer[Any]],
        dims: Sequence[str] | None = None,
        chunk_shape: Sequence[int] | None = None,
        fill_value: float | str | np.generic | None = None,
    ) -> None:
        """Define one array of a length of its own in each of N datasets and write them: the twin of the ragged read.

        All of it is done, or nothing.

        Parameters
        ----------
        array : str
            Name of the array.
        dataset_names : sequence of str
            Names of the N datasets, which exist and lack the array.
        values : numpy.ndarray
            The arrays, one after another along the first axis: (sum of row_sizes, ...). Its dtype becomes theirs;
            objects are strings.
        row_sizes : sequence of int
            Length of each array along the first axis, in cells, (N,).
        dims : sequence of str, optional
            Names of the axes of an array; "dim_0", "dim_1", … without it.
        chunk_shape : sequence of int, optional
            Shape of a chunk, in cells; the whole array without it.
        fill_value : scalar, optional
            See `DatasetView.define_array`.

        Raises
        ------
        DatasetNotFoundError
            (KeyError) where a dataset is missing.
        ArrayExistsError
            (FileExistsError) where one has the array.
        InvalidValueError
            (ValueError) for a name given twice, another number of row sizes than of names, or row sizes that do not
            add up to the length of `values`.
        InvalidTypeError, OutOfRangeError, UnsupportedDtypeError
            What `DatasetView.define_array` raises, also for row sizes.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> names = [dataset.name for dataset in store.create_datasets(["short", "long"])]
        >>> store.write_array_across_ragged("depth", names, np.array([1.0, 5.0, 6.0]), row_sizes=[1, 2], dims=["level"])
        >>> store.open_dataset("long").read_array("depth")
        array([5., 6.])

        """
        wanted = check_names("dataset_names", dataset_names)
        sizes = check_row_sizes(row_sizes, len(wanted))
        if not isinstance(values, np.ndarray) or values.ndim == 0 or len(values) != sum(sizes):
            raise InvalidValueError(
                f"values must be an ndarray whose first axis is as long as the row sizes together, {sum(sizes)}, not "
                f"of {_shape_of(values)}; np.concatenate makes one of a list of arrays"
            )
        names = _axis_names(dims, values.ndim)
        distinct, number = np.unique(np.array(sizes, np.int64), return_inverse=True)
        schemas = [
            self._session.schemas.make(values.dtype, names, (size, *values.shape[1:]), chunk_shape, fill_value)
            for size in distinct.tolist() or [0]
        ]
        self._session.writer.write_ragged(array, wanted, values, schemas, number)

    # Durability and versions

    def flush(self, message: str | None = None) -> None:
        """Commit everything that is pending: one segment for each array name and one commit, however many datasets.

        The new version includes what other writers have committed since, and this handle then shows it. Where nothing
        is pending, nothing happens.

        Parameters
        ----------
        message : str, optional
            Kept with the version, for `history`.

        Raises
        ------
        StorageError
            (OSError) where the storage fails.
        ConflictError
            (RuntimeError) where another writer has changed the same chunk, array, attribute or name since this handle's
            version.

        After any error the store is unchanged, and what is pending is kept.

        """
        _check_message(message)
        self._session.flush(message)

    def close(self) -> None:
        """Flush, and give back the memory of decoded blocks. The handle stays usable. Raises what `flush` raises."""
        self._session.flush()
        self._session.reader.cache.clear()

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

        Raises
        ------
        ConflictError
            (RuntimeError) where what is pending changes a dataset or array that another writer has deleted: the handle
            is then unchanged.

        Examples
        --------
        >>> store, other = atlas.Atlas.create(path), atlas.Atlas.open(path)
        >>> _ = other.create_dataset("monday")
        >>> other.flush()
        >>> "monday" in store, store.refresh(), "monday" in store
        (False, 1, True)

        """
        return self._session.refresh()

    def history(self) -> list[Version]:
        """Return the versions that are kept up to the one shown, oldest first: when and how each was made.

        Numbers that are missing were given up: by default a compaction thins versions of more than a day ago.

        Raises
        ------
        CorruptStoreError
            (RuntimeError) where a commit is damaged or missing.
        StaleHandleError
            (RuntimeError) where the version shown is no longer kept.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_dataset("monday")
        >>> store.flush(message="the first day")
        >>> [(version.version, version.action, version.created, version.message) for version in store.history()]
        [(0, 'create', 0, None), (1, 'flush', 1, 'the first day')]

        """
        return self._session.history()

    def rollback(self, version: int, message: str | None = None) -> int:
        """Commit a new version that holds what an earlier one held, and return its number. History is kept.

        Parameters
        ----------
        version : int
            Number of the earlier version, one that `history` lists.
        message : str, optional
            Kept with the new version; "to version N" without it.

        Raises
        ------
        VersionNotFoundError
            (KeyError) where the earlier version is not kept.
        InvalidValueError
            (ValueError) where changes are pending.
        ConflictError
            (RuntimeError) where another writer has committed since the version shown.
        ReadOnlyError
            (PermissionError) where the store was opened with mode "r".

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_dataset("monday")
        >>> store.flush()
        >>> store.rollback(0)
        2
        >>> list(store)
        []

        """
        _check_message(message)
        return self._session.rollback(_version_number(version), message)

    def compact(self, keep_versions: int = 1, keep_days: float | None = None) -> CompactionReport:
        """Flush, rewrite the segments of each array name as one with live chunks only, and remove unneeded files.

        A large segment is left as it is where all its chunks are live and the others are much smaller.

        `compact(keep_days=0)` keeps only the latest version and frees all space at once; a handle that shows an earlier
        one then raises `StaleHandleError`. Other writers may write meanwhile, and lose nothing.

        Parameters
        ----------
        keep_versions : int, default 1
            Number of the latest versions to keep.
        keep_days : float, optional
            Keep also the versions that were the latest at some moment of so many last days, so that handles opened
            since stay readable, and none before. Without it that is one day, and the versions before are thinned: of
            the last 7 days the last version of each hour (UTC) stays, of the last 30 the last of each day.

        Returns
        -------
        CompactionReport
            What was freed (`bytes_freed`, `files_freed`), what earlier versions still hold (`bytes_held`, `held_by`),
            until when (`held_until`), and the call that frees it at once (`free_rest`). It prints as one line.

        Raises
        ------
        InvalidTypeError, InvalidValueError
            (TypeError, ValueError) for numbers of the wrong type or out of range.
        ReadOnlyError
            (PermissionError) where the store was opened with mode "r".
        StorageError, ConflictError
            What `flush` raises.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> _ = store.create_datasets(["a", "b"])
        >>> store.write_array_across_stacked("t", ["a", "b"], np.arange(20000.0).reshape(2, 10000))
        >>> store.flush()
        >>> store.delete_dataset("a")
        >>> report = store.compact()
        >>> report.bytes_freed, report.held_by, report.free_rest
        (0, (0, 2), 'compact(keep_days=0)')
        >>> report.bytes_held > 0, store.compact(keep_days=0).bytes_freed >= report.bytes_held
        (True, True)

        """
        return self._session.compact(keep_versions, keep_days)

    def verify(
        self, *, repair: bool = False, export: StoreSource | None = None, progress: Progress = None
    ) -> VerifyReport:
        """Read the whole version that this handle shows and report all damage; pending changes are left out.

        Parameters
        ----------
        repair, export, progress
            See `atlas.verify`, which does the same for a store that cannot be opened.

        Raises
        ------
        StoreExistsError
            (FileExistsError) where `export` has a store.
        ReadOnlyError
            (PermissionError) where `repair` is True and the store was opened with mode "r".

        Examples
        --------
        >>> atlas.Atlas.create(path).verify().ok
        True

        """
        if repair:
            self._session.locks.check_writable()
        target = None if export is None else open_storage(export, create=True)
        with self._session.locks.state:
            known = KnownVersion.of(self._session.catalog, self._session.log)
        return verify_storage(
            known.log.storage, known, repair=repair, target=target, progress=progress, limits=known.log.limits
        )


def _shape_of(data: object) -> str:
    """Return the shape of an array, or the type of what is none, for messages."""
    return f"shape {data.shape}" if isinstance(data, np.ndarray) else f"type {type(data).__name__}"


def _axis_names(dims: Sequence[str] | None, ndim: int) -> Sequence[str]:
    """Return the names of the axes of an array, "dim_0", "dim_1", … where none are given."""
    return [f"dim_{axis}" for axis in range(ndim)] if dims is None else dims


def session_of(store: Atlas) -> Session:
    """Return the session of an open store, for rooms above this one."""
    return store._session  # noqa: SLF001 - of this module


def verify(
    source: StoreSource, *, repair: bool = False, export: StoreSource | None = None, progress: Progress = None
) -> VerifyReport:
    """Read everything of a store and report all damage by file, array, dataset and chunk.

    Checks every document, index and block against its checksum, decodes every chunk and recomputes its statistics. The
    store may be too damaged to open. A file that cannot be read is reported as damage.

    Parameters
    ----------
    source : str, os.PathLike or obstore handle
        Where the store is, see `Atlas.create`.
    repair : bool, default False
        Rewrite a missing or damaged checkpoint where the commits hold all of its contents. Without it nothing changes.
    export : str, os.PathLike or obstore handle, optional
        A place without a store, which gets a new one with everything that is whole; the report names what is left out.
    progress : callable or bool, optional
        A function of (done, total) in bytes, or True for a bar on stderr.

    Raises
    ------
    StoreNotFoundError
        (FileNotFoundError) where there is no store.
    StoreExistsError
        (FileExistsError) where `export` has one.

    """
    target = None if export is None else open_storage(export, create=True)
    limits = limits_or_default(None)
    return verify_storage(open_storage(source), repair=repair, target=target, progress=progress, limits=limits)
