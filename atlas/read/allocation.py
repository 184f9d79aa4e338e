"""Allocates results. Refuses a result that exceeds the available memory before it touches any of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import TooLargeError
from atlas.runtime.memory import FREE, check_room

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["allocate_result"]

_REMEDY = "read a smaller box, or fewer datasets at a time"


def allocate_result(shape: tuple[int, ...], dtype: np.dtype[Any], array: str) -> NDArray[Any]:
    """Return an uninitialised array for the result of a read of `array`, whose name errors give.

    Raises `TooLargeError` where it exceeds the available memory.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > FREE:
        check_room(nbytes, _description(shape, array), _REMEDY)
    try:
        return np.empty(shape, dtype)
    except (
        MemoryError,
        ValueError,
    ) as error:  # another thread took the memory; or an empty result has axes beyond NumPy's limit
        raise TooLargeError(
            f"{_description(shape, array)}, cannot be allocated: {error}; {_REMEDY}", asked=nbytes
        ) from error


def _description(shape: tuple[int, ...], array: str) -> str:
    return f"the result, {' x '.join(map(str, shape))} cells of array {array!r},"
