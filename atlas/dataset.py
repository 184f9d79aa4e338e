"""`DatasetView`: one dataset of a store, by name. Holds no data and calls the session of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.attributes import coerce_attribute, decode_value, encode_value, flatten_key, plain_value
from atlas.format.names import check_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from atlas.format.attributes import AttributeKey
    from atlas.format.schema import ArraySchema
    from atlas.session import Session

__all__ = ["DatasetView"]


class DatasetView:
    """One dataset of a store: named arrays and attributes.

    A view holds no data. All views of one handle share its state: each sees at once what another has written. Every
    call raises `DatasetNotFoundError` (KeyError) once the dataset is deleted.
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
        return f'<DatasetView name="{self._name}" arrays={len(self.list_arrays())}>'

    def __reduce__(self) -> tuple[Any, ...]:
        return DatasetView, (self._session, self._name)

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
        fill_value: Any = None,
    ) -> None:
        """Declare a new array, in memory until `Atlas.flush`.

        `dtype` is a name such as "float32", "string" or "timestamp_nanoseconds" (any case), or a NumPy dtype or scalar
        type. `dims`, `shape` and `chunk_shape` have one entry for each axis; an axis has 0 to 2**63-1 cells.
        `chunk_shape` defaults to `shape`: one chunk. Cells that are never written read as `fill_value`, else as 0, ""
        or 1970-01-01, and cells equal to it count as nulls in `array_stats`. It is a scalar of the array's kind: int
        for integers, int or float for floats, str for strings, int nanoseconds or datetime64 for timestamps.

        Raises `ArrayExistsError` (FileExistsError) where the dataset has the array, `InvalidNameError` and
        `InvalidValueError` (ValueError) for names, dtype names and shapes that break a rule, `InvalidTypeError`
        (TypeError) and `OutOfRangeError` (OverflowError) for a fill value of the wrong kind or out of range,
        `UnsupportedDtypeError` (NotImplementedError) for dtypes that cannot be stored, such as bool.
        """
        schema = self._session.schemas.make(dtype, dims, shape, chunk_shape, fill_value)
        self._session.writer.define_array(self._name, name, schema)

    def write_array(self, name: str, start: Sequence[int], data: NDArray[Any]) -> None:
        """Write `data` to the box of its shape at `start`, in memory until `Atlas.flush`.

        `data` has the array's dtype, in any byte order and memory layout: datetime64[ns] or int64 for timestamps;
        object (str or bytes), S or U for strings. `data` is copied.

        Raises `ArrayNotFoundError` (KeyError), `InvalidTypeError` (TypeError) for data of another dtype,
        `InvalidValueError` (ValueError) where the box has another rank than the array or leaves it, and
        `OutOfRangeError` (OverflowError) for negative indices.
        """
        self._session.writer.write_array(self._name, name, start, data)

    def read_array(
        self, name: str, start: Sequence[int] | None = None, shape: Sequence[int] | None = None
    ) -> NDArray[Any] | None:
        """Return the box of `shape` at `start`, both in cells, as a new, writable, C-contiguous array.

        `start` alone reads to the end, `shape` alone from the origin, neither the whole array. Pending writes are
        included. Timestamps are datetime64[ns], strings objects of str; cells that were never written have the fill
        value. None where the dataset has no such array.

        Raises `InvalidValueError` (ValueError) where the box has another rank than the array or leaves it,
        `OutOfRangeError` (OverflowError) for negative numbers, `TooLargeError` (MemoryError) for a box that exceeds the
        available memory, and `CorruptStoreError` (RuntimeError) for damaged or missing data.

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
        """Return the same box of several arrays by name, None for those that the dataset lacks. See `read_array`."""
        return {name: self.read_array(name, start, shape) for name in check_names("names", names)}

    def delete_array(self, name: str) -> None:
        """Delete an array and those attributes that can only be its own, in memory until `Atlas.flush`.

        Raises `ArrayNotFoundError` (KeyError).
        """
        self._session.writer.delete_array(self._name, name)

    def array_meta(self, array: str) -> dict[str, Any] | None:
        """Return `{"dtype", "shape", "chunk_shape", "dimension_names"}` of an array, None where there is none."""
        schema = self._find(array)
        if schema is None:
            return None
        return {
            "dtype": schema.datatype.name,
            "shape": list(schema.shape),
            "chunk_shape": list(schema.chunk_shape),
            "dimension_names": list(schema.dims),
        }

    def array_fill_value(self, array: str) -> int | float | str | None:
        """Return the fill value as declared, None where there is none or no such array. Timestamps: int nanoseconds."""
        schema = self._find(array)
        return None if schema is None else schema.fill

    def array_stats(self, array: str) -> dict[str, Any] | None:
        """Return `{"row_count", "null_count", "min", "max"}` as of the last flush.

        `row_count` is the product of the shape. `null_count` counts the cells that equal the fill value (NaN equals
        NaN) and those of chunks that were never written. `min` and `max` leave out nulls and NaN; they are int, float
        or str (timestamps: int nanoseconds), None where no cell is left. None before the first flush, for a missing
        array and for one that was never written.

        >>> store = atlas.Atlas.create(path)
        >>> dataset = store.create_dataset("monday")
        >>> dataset.define_array("depth", "int32", ["x"], [4], fill_value=-1)
        >>> dataset.write_array("depth", [0], np.array([7, -1, 3], np.int32))
        >>> store.flush()
        >>> dataset.array_stats("depth")
        {'row_count': 4, 'null_count': 2, 'min': 3, 'max': 7}
        """
        return self._session.reader.array_stats(self._name, array)

    def _find(self, array: str) -> ArraySchema | None:
        entry = self._session.view.entry(self._name, array)
        return None if entry is None else entry.schema

    # Attributes

    def set_attribute(self, key: str, value: Any, dtype: str | np.dtype[Any] | type | None = None) -> None:
        """Set an attribute to a bool, int, float, str or datetime64, in memory until `Atlas.flush`.

        The kind follows the value. `dtype` ("int8" … "uint64", "float32", "float64", "bool", "string",
        "timestamp_nanoseconds") narrows it: integers are checked against its range, float32 rounds.

        Raises `InvalidValueError` (ValueError) for other kinds of values and unknown dtypes, `InvalidTypeError`
        (TypeError) for a key that is not a str or a value that does not fit `dtype`, `OutOfRangeError` (OverflowError)
        for integers out of range.

        >>> dataset = atlas.Atlas.create(path).create_dataset("monday")
        >>> dataset.set_attribute("station", "KNMI")
        >>> dataset.set_attribute("opened", np.datetime64("1970-01-01T00:00:01"))
        >>> dataset.attributes()
        {'station': 'KNMI', 'opened': 1000000000}
        """
        self._session.writer.set_attribute(self._name, key, encode_value(coerce_attribute(value, dtype)))

    def get_attribute(self, key: str) -> bool | int | float | str | None:
        """Return an attribute, timestamps as int nanoseconds; None where the dataset lacks it."""
        attributes = self._session.view.attributes(self._name)
        if key in attributes:
            return plain_value(self._decoded(key, attributes[key]))
        return self.attributes().get(key)

    def attributes(self) -> dict[str, bool | int | float | str]:
        """Return all attributes in the order they were set; those of variables as "variable.attribute"."""
        return {flatten_key(key): plain_value(value) for key, value in self.exact_attributes().items()}

    def delete_attribute(self, key: str) -> None:
        """Delete an attribute, in memory until `Atlas.flush`. Raises `MissingAttributeError` (KeyError)."""
        self._session.writer.delete_attribute(self._name, key)

    def exact_attributes(self) -> dict[AttributeKey, object]:
        """Return all attributes with their exact values and keys (see `atlas.format.attributes`)."""
        return {key: self._decoded(key, value) for key, value in self._session.view.attributes(self._name).items()}

    def _decoded(self, key: AttributeKey, value: Any) -> object:
        try:
            return decode_value(value)
        except ValueError as error:
            raise CorruptStoreError(
                f"attribute {flatten_key(key)!r} of dataset {self._name!r} is damaged: {error}; set it again, or "
                "restore the store from a copy",
                dataset=self._name,
            ) from error

    def set_exact_attribute(self, key: AttributeKey, value: object) -> None:
        """Set an attribute of any value that `atlas.format.attributes.encode_value` takes."""
        self._session.writer.set_attribute(self._name, key, encode_value(value))

    # For lazy arrays

    def token(self, array: str) -> str:
        """Return a string that changes whenever the result of `read_array` may change."""
        return self._session.token(self._name, array)
