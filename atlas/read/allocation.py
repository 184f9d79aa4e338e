"""Where the memory of results is taken: what exceeds the memory at hand is refused before any of it is touched."""

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
    """Return an array for a result of reading `array`, contents arbitrary.

    Raises `TooLargeError` where it exceeds the memory at hand.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > FREE:
        check_room(nbytes, _told(shape, array), _REMEDY)
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:  # another thread was faster; or it is empty, with axes beyond NumPy's
        raise TooLargeError(f"{_told(shape, array)}, cannot be had: {error}; {_REMEDY}", asked=nbytes) from error


def _told(shape: tuple[int, ...], array: str) -> str:
    return f"the result, {' x '.join(map(str, shape))} cells of array {array!r},"
