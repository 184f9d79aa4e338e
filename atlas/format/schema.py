"""Schemas: the dtype, dimensions, shape, chunk shape and fill value that an array is declared with. No I/O."""

from __future__ import annotations

import base64
import math
import operator
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import CorruptStoreError, InvalidNameError, InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.format.dtypes import DATATYPES, DataType, Fill, check_fill, parse_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["ArraySchema", "check_index", "make_schema", "schema_from_json", "schema_to_json"]

_LARGEST = 2**63 - 1
MOST_AXES = 63
"""Most axes of an array: NumPy's arrays have 64, and reading many datasets at once adds one."""


def check_index(what: str, value: object) -> int:
    """Return `value` as an int from 0 to 2**63-1; `what` is the name of the argument in messages.

    Raises `InvalidTypeError` for what is not an integer, `OutOfRangeError` for an integer outside the range.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidTypeError(f"{what} holds whole numbers, not {type(value).__name__} {value!r}") from None
    if isinstance(value, bool | np.bool_):
        raise InvalidTypeError(f"{what} holds whole numbers, not bool {value!r}")
    if not 0 <= number <= _LARGEST:
        raise OutOfRangeError(f"{what} holds {number}; it takes whole numbers from 0 to 2**63-1")
    return number


@dataclass(frozen=True, slots=True, eq=False)
class ArraySchema:
    """The schema of an array. Two schemas are equal where their `key` is."""

    datatype: DataType
    """The dtype of its cells."""
    dims: tuple[str, ...]
    """Dimension names, one an axis."""
    shape: tuple[int, ...]
    """Length of each axis; may be 0."""
    chunk_shape: tuple[int, ...]
    """Length of a chunk along each axis, at least 1 but on axes of length 0; may exceed the axis."""
    fill: Fill | None
    """The fill value: what unwritten cells read as, and what counts as null. None where none was declared."""
    nan_is_missing: bool = False
    """Whether NaN and not-a-time stand for missing cells, and count as null as well."""
    fill_bits: bytes = field(init=False)
    """What an unwritten cell reads as: little-endian bytes, UTF-8 for strings, the bytes themselves for bytes."""
    size: int = field(init=False)
    """Number of cells."""
    grid: tuple[int, ...] = field(init=False)
    """Number of chunks along each axis."""
    chunks: int = field(init=False)
    """Number of chunks of the grid."""
    key: tuple[object, ...] = field(init=False)
    """All that was declared, the fill by its bits: NaN equals NaN, and -0.0 does not equal 0.0."""
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the other fields."""
        cell = self.datatype.cell
        if cell is None:
            bits = self.fill if isinstance(self.fill, bytes) else str(self.fill or "").encode()
        else:
            value = np.array(0 if self.fill is None else self.fill, np.float64 if cell.kind == "f" else cell)
            with np.errstate(all="ignore"):  # NumPy warns of signalling NaN
                bits = value.astype(cell).tobytes()
        object.__setattr__(self, "fill_bits", bits)
        object.__setattr__(self, "size", math.prod(self.shape))
        grid = tuple(-(-n // max(c, 1)) for n, c in zip(self.shape, self.chunk_shape, strict=True))
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "chunks", math.prod(grid))
        fill = np.float64(self.fill).tobytes() if isinstance(self.fill, float) else self.fill
        key = (
            self.datatype.name, self.dims, self.shape, self.chunk_shape, type(self.fill), fill, self.nan_is_missing
        )  # fmt: skip
        object.__setattr__(self, "key", key)
        # The hash of a text, which Python seeds. Hashes of integers are known and repeat after 2**61-1, so that a
        # forged store could hold any number of schemas with one hash.
        object.__setattr__(self, "_hash", hash(repr(key)))

    def __eq__(self, other: object) -> bool:
        """Return whether both are schemas with the same `key`."""
        return isinstance(other, ArraySchema) and self.key == other.key

    def __hash__(self) -> int:
        """Return a hash of `key`."""
        return self._hash

    @property
    def fill_text(self) -> str | bytes:
        """What an unwritten cell of an array of strings or bytes reads as."""
        return self.fill_bits if self.datatype.kind == "bytes" else self.fill_bits.decode()

    @property
    def fill_cell(self) -> Any:
        """The fill value as a scalar of the memory dtype, None where none was declared."""
        if self.fill is None or self.datatype.cell is None:
            return self.fill
        return np.frombuffer(self.fill_bits, self.datatype.cell).view(self.memory_dtype)[0]

    @property
    def fill_is_nan(self) -> bool:
        """Whether the fill value is NaN or not-a-time."""
        if self.datatype.has_nat:
            return self.fill == -(2**63)
        return isinstance(self.fill, float) and math.isnan(self.fill)

    @property
    def memory_dtype(self) -> np.dtype[Any]:
        """The dtype of arrays that reads return."""
        return self.datatype.memory


def _axis_tuple(what: str, values: Iterable[object]) -> tuple[int, ...]:
    if isinstance(values, str | bytes):
        raise InvalidTypeError(f"{what} is a sequence of whole numbers, not {values!r}")
    try:
        items = tuple(values)
    except TypeError:
        raise InvalidTypeError(f"{what} is a sequence of whole numbers, not {values!r}") from None
    return tuple(check_index(what, value) for value in items)


def _dimension_names(dims: Iterable[str]) -> tuple[str, ...]:
    if isinstance(dims, str | bytes):
        raise InvalidTypeError(f"dims is a sequence of names, not the text {dims!r}; write [{dims!r}]")
    try:
        names = tuple(dims)
    except TypeError:
        raise InvalidTypeError(f"dims is a sequence of names, not {type(dims).__name__} {dims!r}") from None
    for name in names:
        if not isinstance(name, str):
            raise InvalidTypeError(f"dimension names are text, not {type(name).__name__}: {name!r}")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidNameError(f"dimension name {name!r} holds a surrogate, which UTF-8 lacks") from error
    return names


def make_schema(
    dtype: object,
    dims: Sequence[str],
    shape: Sequence[int],
    chunk_shape: Sequence[int] | None = None,
    fill_value: object = None,
    *,
    nan_is_missing: bool = False,
) -> ArraySchema:
    """Check the arguments of `DatasetView.define_array` and return the schema; for the last see `ArraySchema`.

    Raises `InvalidValueError`, `InvalidTypeError`, `OutOfRangeError` or `UnsupportedDtypeError`, as that method says.
    """
    datatype = parse_dtype(dtype)
    names = _dimension_names(dims)
    extent = _axis_tuple("shape", shape)
    chunk = extent if chunk_shape is None else _axis_tuple("chunk_shape", chunk_shape)
    if not len(names) == len(extent) == len(chunk):
        raise InvalidValueError(
            f"dims, shape and chunk_shape have one entry an axis, but are of length {len(names)}, {len(extent)} and "
            f"{len(chunk)}: {list(names)}, {list(extent)}, {list(chunk)}"
        )
    if any(c == 0 and n != 0 for c, n in zip(chunk, extent, strict=True)):
        raise InvalidValueError(f"chunk_shape {list(chunk)} holds 0; a chunk is at least 1 along each axis")
    if len(extent) > MOST_AXES:
        raise InvalidValueError(f"an array has {MOST_AXES} axes at most, as NumPy's have 64 and stacks one more")
    # Axes of length 0 count as 1: NumPy has no array of shape (0, 2**40, 2**40).
    if math.prod(n or 1 for n in extent) * datatype.itemsize > _LARGEST:
        raise InvalidValueError(f"shape {list(extent)} of {datatype.name} has more than 2**63-1 bytes")
    return ArraySchema(datatype, names, extent, chunk, check_fill(datatype, fill_value), nan_is_missing)


def schema_to_json(schema: ArraySchema) -> dict[str, object]:
    """Return the schema as documents hold it."""
    document: dict[str, object] = {
        "dtype": schema.datatype.name,
        "dims": list(schema.dims),
        "shape": list(schema.shape),
        "chunk_shape": list(schema.chunk_shape),
    }
    if schema.fill is not None:
        document["fill"] = _fill_to_json(schema.fill)
    if schema.nan_is_missing:
        document["nan_is_missing"] = True
    return document


def _fill_to_json(fill: Fill) -> object:
    # JSON has no NaN and no infinity: every float fill is written as the hexadecimal digits of its bits.
    if isinstance(fill, float):
        return {"float64": np.float64(fill).tobytes()[::-1].hex()}
    return {"bytes": base64.b64encode(fill).decode()} if isinstance(fill, bytes) else fill


def _fill_from_json(fill: object) -> object:
    if not isinstance(fill, dict):
        return fill
    if "bytes" in fill:
        return base64.b64decode(fill["bytes"], validate=True)
    return struct.unpack(">d", bytes.fromhex(fill["float64"]))[0]


def schema_from_json(document: object) -> ArraySchema:
    """Return the schema that a document holds, or raise `CorruptStoreError`."""
    if not isinstance(document, dict):
        raise CorruptStoreError(f"an array schema is an object, not {document!r}")
    try:
        fill = _fill_from_json(document.get("fill"))
        nan_is_missing = document.get("nan_is_missing", False)
        if not isinstance(nan_is_missing, bool):
            raise CorruptStoreError(f"an array schema says {nan_is_missing!r} of missing NaN, and not true or false")
        name = document["dtype"]
        if name not in DATATYPES:
            raise CorruptStoreError(f"an array schema has the unknown dtype {name!r}")
        schema = make_schema(
            name,
            document["dims"],
            document["shape"],
            document["chunk_shape"],
            fill,
            nan_is_missing=nan_is_missing,
        )
    except (KeyError, ValueError, TypeError, OverflowError, struct.error) as error:
        raise CorruptStoreError(f"an array schema is not valid: {error}") from error
    return schema
