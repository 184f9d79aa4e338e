"""`DatasetView`: one dataset of a store, by name. Holds no data and calls the session of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from atlas.array import ArrayView
from atlas.attributes import Attributes
from atlas.errors import DatasetNotFoundError, MissingAttributeError
from atlas.format.attribute_keys import check_key, check_text, is_hidden, is_plain_key
from atlas.format.attributes import KEPT_AS_SET, coerce_attribute, encode_value, plain_value
from atlas.format.names import check_names
from atlas.xarray.attribute_owners import check_name_is_free

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.schema import ArraySchema
    from atlas.read.statistics import ArrayStatistics
    from atlas.session import Session

__all__ = ["ArrayMeta", "DatasetView", "exact_attributes"]


class ArrayMeta(TypedDict):
    """Metadata of one array, see `DatasetView.array_meta`."""

    dtype: str
    """Name of the dtype."""
    shape: list[int]
    """Length of each axis, in cells."""
    chunk_shape: list[int]
    """Length of a chunk along each axis, in cells."""
    dimension_names: list[str]
    """Name of each axis."""


class DatasetView:
    """One dataset of a store: a mapping from names to arrays, with attributes.

    `view["depth"]` is an array, `"depth" in view` tells whether there is one, `len(view)` counts them, `list(view)`
    gives their names in the order they were declared, and `del view["depth"]` deletes one. A view is always true.

    A view holds no data. All views of one handle share its state: each sees at once what another has written. Every
    call raises `DatasetNotFoundError` (KeyError) once the dataset is deleted, and every change `ReadOnlyError`
    (PermissionError) where the store was opened with mode "r".
    """

    __slots__ = ("_name", "_reader", "_session")

    def __init__(self, session: Session, name: str) -> None:
        """Use `Atlas.create_dataset` or `Atlas.open_dataset`."""
        self._session = session
        self._reader = session.reader
        self._name = name

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self._name

    def __repr__(self) -> str:
        try:
            return f'<DatasetView name="{self._name}" arrays={len(self)}>'
        except DatasetNotFoundError:
            return f'<DatasetView name="{self._name}" (deleted)>'

    def __reduce__(self) -> tuple[Any, ...]:
        return DatasetView, (self._session, self._name)

    # As a mapping of array names

    def __getitem__(self, array: str) -> ArrayView:
        """Return one array, to read and write in part. Raises `ArrayNotFoundError` (KeyError).

        Examples
        --------
        >>> dataset = atlas.Atlas.create(path).create_dataset("monday")
        >>> dataset.define_array("depth", "int16", ["x"], [4], fill_value=-1)
        >>> dataset["depth"][1:3]
        array([-1, -1], dtype=int16)

        """
        self._session.view.array(self._name, array)
        return ArrayView(self._session, self._name, array)

    def __contains__(self, array: object) -> bool:
        return isinstance(array, str) and array in self._session.view.entries(self._name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_arrays())

    def __len__(self) -> int:
        return len(self._session.view.entries(self._name))

    def __bool__(self) -> bool:
        """Return True: a handle is there, whatever its dataset holds."""
        return True

    def __delitem__(self, array: str) -> None:
        """Delete an array, as `delete_array` does. Raises `ArrayNotFoundError` (KeyError)."""
        self.delete_array(array)

    def _ipython_key_completions_(self) -> list[str]:
        return self.list_arrays()

    # Arrays

    def list_arrays(self) -> list[str]:
        """Return the names of the arrays, in the order they were declared."""
        return list(self._session.view.entries(self._name))

    def define_array(
        self,
        name: str,
        dtype: DTypeLike | str,
        dims: Sequence[str],
        shape: Sequence[int],
        chunk_shape: Sequence[int] | None = None,
        fill_value: float | str | np.generic | None = None,
    ) -> None:
        """Declare a new array, in memory until `Atlas.flush`.

        Parameters
        ----------
        name : str
            Name of the array.
        dtype : str, numpy.dtype or NumPy scalar type
            A name such as "float32", "bool", "string", "bytes", "datetime64[s]" or "timestamp_nanoseconds" (any case),
            or NumPy's dtype; "S" and "U" of NumPy are strings.
        dims : sequence of str
            Name of each axis.
        shape : sequence of int
            Length of each axis, 0 to 2**63-1 cells.
        chunk_shape : sequence of int, optional
            Length of a chunk along each axis, in cells; `shape` without it: one chunk.
        fill_value : bool, int, float, str, bytes, numpy.datetime64 or numpy.timedelta64, optional
            What cells read as that are never written, and what counts as null in `array_stats`: a scalar of the array's
            kind, for times also an int of their unit. Without it such cells read as False, 0, "", b"" or 1970-01-01.

        Raises
        ------
        ArrayExistsError
            (FileExistsError) where the dataset has the array.
        InvalidNameError, InvalidValueError
            (ValueError) for names, dtype names and shapes that break a rule.
        InvalidTypeError, OutOfRangeError
            (TypeError, OverflowError) for a fill value of the wrong kind or out of range.
        UnsupportedDtypeError
            (NotImplementedError) for dtypes that cannot be stored, such as complex numbers.

        """
        schema = self._session.schemas.make(dtype, dims, shape, chunk_shape, fill_value)
        self._session.writer.define_array(self._name, name, schema)

    def write_array(self, name: str, start: Sequence[int], data: NDArray[Any]) -> None:
        """Write to a box, in memory until `Atlas.flush`. See `ArrayView.__setitem__` for NumPy's indices.

        Parameters
        ----------
        name : str
            Name of the array.
        start : sequence of int
            First corner of the box, in cells.
        data : numpy.ndarray
            The cells, copied; their shape is that of the box. Of the array's dtype, in any byte order and memory
            layout; for times also int64; for strings and bytes also object, S, U and StringDType. Of strings, bytes are
            UTF-8. None, NaN and what pandas has for missing text are missing: they read as None, or as the fill value
            where one is declared. Masked cells become the fill value.

        Raises
        ------
        ArrayNotFoundError
            (KeyError) where the dataset lacks the array.
        InvalidTypeError
            (TypeError) for data of another dtype.
        InvalidValueError
            (ValueError) where the box has another rank than the array or leaves it.
        OutOfRangeError
            (OverflowError) for negative positions.

        """
        self._session.writer.write_array(self._name, name, start, data)

    def read_array(
        self, name: str, start: Sequence[int] | None = None, shape: Sequence[int] | None = None
    ) -> NDArray[Any] | Any:  # "or Any" and not "or None": few programs ask for an array that is not there
        """Return a box of an array as a new, writable, C-contiguous array. Pending writes are included.

        Parameters
        ----------
        name : str
            Name of the array.
        start : sequence of int, optional
            First corner of the box, in cells; the origin without it.
        shape : sequence of int, optional
            Shape of the box, in cells; to the end of the array without it.

        Returns
        -------
        numpy.ndarray or None
            Times are datetime64 or timedelta64 of their unit, strings and bytes objects of str or bytes, None for
            missing cells; cells that were never written have the fill value. None where the dataset has no such array.

        Raises
        ------
        InvalidValueError
            (ValueError) where the box has another rank than the array or leaves it.
        OutOfRangeError
            (OverflowError) for negative numbers.
        TooLargeError
            (MemoryError) for a box that exceeds the available memory.
        CorruptStoreError
            (RuntimeError) for damaged or missing data.

        Examples
        --------
        >>> dataset = atlas.Atlas.create(path).create_dataset("monday")
        >>> dataset.define_array("depth", "float32", ["y", "x"], [2, 3], fill_value=float("nan"))
        >>> dataset.write_array("depth", [0, 1], np.ones((2, 1), np.float32))
        >>> dataset.read_array("depth", shape=[1, 3])
        array([[nan,  1., nan]], dtype=float32)

        """
        return self._reader.read_array(self._name, name, start, shape)

    def read_arrays(
        self, names: Sequence[str], start: Sequence[int] | None = None, shape: Sequence[int] | None = None
    ) -> dict[str, NDArray[Any] | None]:
        """Return the same box of several arrays by name, None for those that the dataset lacks.

        Parameters
        ----------
        names : sequence of str
            Names of the arrays.
        start, shape : sequence of int, optional
            First corner and shape of the box, in cells. See `read_array`, also for errors.

        """
        return {name: self.read_array(name, start, shape) for name in check_names("names", names)}

    def delete_array(self, name: str) -> None:
        """Delete an array with its attributes, however they were set, in memory until `Atlas.flush`.

        Parameters
        ----------
        name : str
            Name of the array.

        Raises
        ------
        ArrayNotFoundError
            (KeyError) where the dataset lacks the array.

        """
        self._session.writer.delete_array(self._name, name)

    def array_meta(self, array: str) -> ArrayMeta | Any:  # as of `read_array`
        """Return dtype, shape, chunk shape and dimension names of an array.

        Parameters
        ----------
        array : str
            Name of the array.

        Returns
        -------
        dict or None
            `{"dtype": str, "shape": list, "chunk_shape": list, "dimension_names": list}`, lengths in cells; None where
            the dataset has no such array. `view[array]` has the same as attributes.

        """
        schema = self._find(array)
        if schema is None:
            return None
        return {
            "dtype": schema.datatype.name,
            "shape": list(schema.shape),
            "chunk_shape": list(schema.chunk_shape),
            "dimension_names": list(schema.dims),
        }

    def array_fill_value(self, array: str) -> bool | int | float | str | bytes | None:
        """Return the fill value as declared, None where there is none or no such array.

        Parameters
        ----------
        array : str
            Name of the array.

        Returns
        -------
        bool, int, float, str, bytes or None
            Times as int of their unit, since 1970.

        """
        schema = self._find(array)
        return None if schema is None else schema.fill

    def array_stats(self, array: str) -> ArrayStatistics | Any:  # as of `read_array`
        """Return statistics of an array as of the last flush. Reads no cells but of texts of over 128 bytes.

        Parameters
        ----------
        array : str
            Name of the array.

        Returns
        -------
        ArrayStatistics or None
            A dict. `row_count` is the product of the shape. `null_count` counts the missing cells: those that equal the
            fill value (NaN equals NaN), those of chunks that were never written, missing text and bytes, and, of a
            variable that xarray decoded from a file with missing values, NaN and not-a-time. `min` and `max` leave out
            nulls and NaN; they are bool, int, float, str or bytes (times: int of their unit), None where no cell is
            left. None before the first flush, for a missing array and for one that was never written.

        Examples
        --------
        >>> store = atlas.Atlas.create(path)
        >>> dataset = store.create_dataset("monday")
        >>> dataset.define_array("depth", "int32", ["x"], [4], fill_value=-1)
        >>> dataset.write_array("depth", [0], np.array([7, -1, 3], np.int32))
        >>> store.flush()
        >>> dataset.array_stats("depth")
        {'row_count': 4, 'null_count': 2, 'min': 3, 'max': 7}

        """
        found = self._session.reader.array_stats(self._name, array)
        return None if found is None else found[0]

    def _find(self, array: str) -> ArraySchema | None:
        entry = self._session.view.entry(self._name, array)
        return None if entry is None else entry.schema

    # Attributes

    def set_attribute(
        self,
        key: str,
        value: bool | float | str | np.generic,
        dtype: str | np.dtype[Any] | type[np.generic] | None = None,
    ) -> None:
        """Set an attribute, in memory until `Atlas.flush`.

        A key that is the name of an array, a dot and more is an attribute of that array: "depth.units" is "units" in
        `dataset["depth"].attrs` and in `to_xarray`. The array may be declared later, and of several such arrays the
        longest name counts. There is one attribute of a key, however it was set: setting it again replaces it.

        Parameters
        ----------
        key : str
            Its name; "array.name" for an attribute of an array. `attrs` takes lists, arrays, dates and None too.
        value : bool, int, float, str or numpy.datetime64
            Its value; NumPy scalars count as these.
        dtype : str, numpy.dtype or NumPy scalar type, optional
            "int8" … "uint64", "float32", "float64", "bool", "string" or "timestamp_nanoseconds": integers are checked
            against its range, float32 rounds. The kind of the value without it.

        Raises
        ------
        InvalidValueError
            (ValueError) for other kinds of values and unknown dtypes.
        InvalidNameError
            (ValueError) for a key that ends with a reserved name, such as "_atlas_dtype".
        InvalidTypeError
            (TypeError) for a key that is not a str or a value that does not fit `dtype`.
        OutOfRangeError
            (OverflowError) for integers out of range.

        Examples
        --------
        >>> dataset = atlas.Atlas.create(path).create_dataset("monday")
        >>> dataset.set_attribute("station", "KNMI")
        >>> dataset.set_attribute("opened", np.datetime64("1970-01-01T00:00:01"))
        >>> dataset.attributes()
        {'station': 'KNMI', 'opened': 1000000000}

        """
        kept = dtype is None and type(value) in KEPT_AS_SET
        encoded = encode_value(value if kept else coerce_attribute(value, dtype))
        if type(key) is not str or not is_plain_key(key):
            check_name_is_free(f"dataset {self._name!r}", key)
            check_text(key)
        self._session.writer.set_attribute(self._name, key, encoded)

    def get_attribute(self, key: str) -> bool | int | float | str | dt.date | dt.time | dt.timedelta | None:
        """Return an attribute, NumPy's times as int nanoseconds; None where the dataset lacks it.

        Parameters
        ----------
        key : str
            Its name; "array.name" for an attribute of an array.

        """
        absent = object()
        found = self._session.view.attribute(self._name, key, absent)
        return None if found is absent or is_hidden(key) else plain_value(found)

    def attributes(self) -> dict[str, bool | int | float | str | dt.date | dt.time | dt.timedelta]:
        """Return all attributes in the order they were set; those of arrays as "array.attribute".

        Values are shown as `get_attribute` does: dates and durations of datetime and pandas as they are, lists, arrays
        and None as text that begins with "json:".
        """
        return self._session.view.shown_attributes(self._name)

    def delete_attribute(self, key: str) -> None:
        """Delete an attribute, in memory until `Atlas.flush`.

        Parameters
        ----------
        key : str
            Its name; "array.name" for an attribute of an array.

        Raises
        ------
        MissingAttributeError
            (KeyError) where the dataset lacks it.

        """
        check_key(key)
        if is_hidden(key):
            raise MissingAttributeError(f"dataset {self._name!r} has no attribute {key!r}")
        self._session.writer.delete_attribute(self._name, key)

    @property
    def attrs(self) -> Attributes:
        """Attributes of the dataset itself, without those of its arrays: a mapping that writes through."""
        return Attributes(self._session, self._name)


def exact_attributes(view: DatasetView) -> dict[AttributeKey, object]:
    """Return all attributes of a dataset with their exact keys and values (see `atlas.format.attributes`)."""
    return view._session.view.exact_attributes(view.name)  # noqa: SLF001 - of this module
