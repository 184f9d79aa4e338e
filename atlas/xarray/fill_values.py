"""The `_FillValue` among the attributes of a variable as the fill value of its array, and back. Pure.

An array keeps its fill value as a plain scalar. Where that would come back as something else than the attribute was,
such as a list for an array of one cell or a number for a date, the attribute is kept beside it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.format.attribute_times import numpy_time
from atlas.format.dtypes import exact_times
from atlas.format.text import decode_text

if TYPE_CHECKING:
    from atlas.format.schema import ArraySchema

__all__ = ["fill_attribute", "is_same_fill", "to_fill_value"]


def to_fill_value(attribute: object, stored: str, kind: str) -> object:
    """Return the fill value to declare for a `_FillValue`, to be checked with the rest of the schema.

    `stored` is the name of the stored dtype, `kind` the kind of the variable's dtype. Raises `InvalidValueError` for
    bytes that are no UTF-8, where the array is not one of bytes.
    """
    if isinstance(attribute, np.ndarray) and attribute.size == 1:
        attribute = attribute.reshape(-1)[0]
    if isinstance(attribute, dt.date | dt.timedelta):
        return numpy_time(attribute, kind)
    return decode_text(attribute) if isinstance(attribute, bytes) and stored != "bytes" else attribute


def fill_attribute(schema: ArraySchema, decoded: np.dtype[Any] | None) -> Any:
    """Return the fill value as xarray has it: of times a NumPy time in the unit of the variable, where that is exact.

    `decoded` is the dtype of the variable where one is recorded.
    """
    dtype = schema.memory_dtype if decoded is None else decoded
    if dtype.kind not in "mM" or schema.fill is None:
        return schema.fill
    stored = np.array(schema.fill, np.int64).view(schema.memory_dtype)
    exact = exact_times(stored, dtype)
    return (stored if exact is None else exact)[()]


def is_same_fill(attribute: object, shown: object) -> bool:
    """Return whether two values of `_FillValue` are the same, in type too; one NaN or not-a-time is like another."""
    if type(attribute) is not type(shown) or getattr(attribute, "dtype", None) != getattr(shown, "dtype", None):
        return False
    return bool(attribute == shown) or bool(attribute != attribute and shown != shown)  # noqa: PLR0124
