"""`ArrayView`: one array of a dataset, by name. Holds no data and calls the session of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from atlas.attributes import Attributes
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import EllipsisType

    import numpy as np
    from numpy.typing import NDArray

    from atlas.format.schema import ArraySchema
    from atlas.read.statistics import DetailedStatistics
    from atlas.session import Session

    _Axis: TypeAlias = int | np.integer[Any] | slice | EllipsisType | Sequence[int] | NDArray[Any] | None
    ArrayIndex: TypeAlias = _Axis | tuple[_Axis, ...]
    """What NumPy takes between brackets: an entry for each axis."""

__all__ = ["ArrayView"]


class ArrayView:
    """One array of a dataset, read and written in part as a NumPy array is.

    A view holds no data: each use of it sees what was written last. Every use raises `DatasetNotFoundError` or
    `ArrayNotFoundError` (KeyError) once the dataset or the array is deleted. `np.asarray(view)` reads the whole array.

    Examples
    --------
    >>> dataset = atlas.Atlas.create(path).create_dataset("monday")
    >>> dataset.define_array("depth", "float32", ["y", "x"], [4, 6], fill_value=float("nan"))
    >>> depth = dataset["depth"]
    >>> depth[1:3, ::2] = [[1, 2, 3], [4, 5, 6]]
    >>> depth[2]
    array([ 4., nan,  5., nan,  6., nan], dtype=float32)
    >>> depth[[1, 2], [0, 4]]
    array([1., 6.], dtype=float32)
    >>> depth
    <ArrayView "depth" of "monday" float32 (y: 4, x: 6)>

    """

    __slots__ = ("_dataset", "_name", "_session")

    def __init__(self, session: Session, dataset: str, name: str) -> None:
        """Use `DatasetView.__getitem__`: `store["monday"]["depth"]`."""
        self._session = session
        self._dataset = dataset
        self._name = name

    @property
    def _schema(self) -> ArraySchema:
        return self._session.view.array(self._dataset, self._name).schema

    @property
    def name(self) -> str:
        """Name of the array."""
        return self._name

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis, in cells."""
        return self._schema.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._schema.shape)

    @property
    def size(self) -> int:
        """Number of cells."""
        return self._schema.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of what reads return: datetime64 or timedelta64 for times, object for strings and bytes."""
        return self._schema.memory_dtype

    @property
    def dims(self) -> tuple[str, ...]:
        """Name of each axis."""
        return self._schema.dims

    @property
    def chunks(self) -> tuple[int, ...]:
        """Length of a chunk along each axis, in cells; chunks at the edge may be shorter."""
        return self._schema.chunk_shape

    @property
    def fill_value(self) -> Any:
        """What cells read as that were never written, and what counts as null: a scalar of `dtype`.

        None where none was declared: such cells then read as False, 0, "", b"" or 1970-01-01.
        """
        return self._schema.fill_cell

    @property
    def stats(self) -> DetailedStatistics | None:
        """Statistics as of the last flush: those of `DatasetView.array_stats`, and a `nan_count`.

        `nan_count` is the number of cells that are NaN or not-a-time, whether they count as null or not.
        """
        found = self._session.reader.array_stats(self._dataset, self._name)
        return None if found is None else {**found[0], "nan_count": found[1]}

    @property
    def attrs(self) -> Attributes:
        """Attributes of the array, a mapping that writes through."""
        return Attributes(self._session, self._dataset, self._name)

    def __getitem__(self, key: ArrayIndex) -> NDArray[Any] | Any:
        """Return the cells that `key` takes: what NumPy returns for an array in memory, as a new array or a scalar.

        Reads only chunks that hold such cells. Pending writes are included.

        Parameters
        ----------
        key : int, slice, Ellipsis, None, list or array of int or bool, or tuple of these
            An index as NumPy takes it, in cells. Negative positions count from the end, steps may be negative, None
            adds an axis, and several lists index pointwise.

        Returns
        -------
        numpy.ndarray or scalar
            Of dtype `dtype`, C-contiguous and writable. Cells that were never written have the fill value.

        Raises
        ------
        InvalidIndexError
            (IndexError) where NumPy raises IndexError: out of bounds, too many axes, or no index at all.
        InvalidValueError
            (ValueError) for a step of 0.
        TooLargeError
            (MemoryError) where the cells, with those between them in the same chunks, exceed the available memory.
        CorruptStoreError
            (RuntimeError) for damaged or missing data.

        """
        return self._session.reader.read_index(self._dataset, self._name, key)

    def __setitem__(self, key: ArrayIndex, value: Any) -> None:
        """Write `value` to the cells that `key` takes, in memory until `Atlas.flush`.

        Parameters
        ----------
        key : int, slice, Ellipsis, None, list or array of int or bool, or tuple of these
            An index, see `__getitem__`. Of a cell that lists take twice, the last value counts.
        value : scalar, list or numpy.ndarray
            Broadcast to the shape of what `key` takes. Floats are rounded to the dtype of the array as NumPy rounds
            them; integers and times must fit it exactly; strings are str or UTF-8, bytes are bytes, and None is a
            missing cell of either. An int counts the unit of an array of times.

        Raises
        ------
        InvalidIndexError
            (IndexError) as for reading.
        InvalidValueError
            (ValueError) where `value` does not broadcast.
        InvalidTypeError
            (TypeError) for values of another kind, such as floats for an array of integers.
        OutOfRangeError
            (OverflowError) for a number or time that the dtype cannot hold.
        ReadOnlyError
            (PermissionError) where the store was opened with mode "r".

        """
        self._session.writer.write_index(self._dataset, self._name, key, value)

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole array, for `np.asarray`."""
        if copy is False:
            raise InvalidValueError(
                f"array {self._name!r} is on disk, so reading it makes a copy; leave out copy=False"
            )
        cells: NDArray[Any] = self[...]
        return cells if dtype is None else cells.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __bool__(self) -> bool:
        """Return True: a handle is there, whatever its array holds."""
        return True

    def __repr__(self) -> str:
        try:
            schema = self._schema
        except (DatasetNotFoundError, ArrayNotFoundError):
            return f'<ArrayView "{self._name}" of "{self._dataset}" (deleted)>'
        axes = ", ".join(f"{dim}: {length}" for dim, length in zip(schema.dims, schema.shape, strict=True))
        return f'<ArrayView "{self._name}" of "{self._dataset}" {schema.datatype.name} ({axes})>'

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayView, (self._session, self._dataset, self._name)
