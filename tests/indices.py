"""Random NumPy indices of arrays of any shape, and what NumPy makes of one."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def shapes(draw, least=0, most_axes=4):
    """A shape and a chunk shape."""
    axes = draw(st.lists(st.tuples(st.integers(least, 9), st.integers(1, 11)), max_size=most_axes))
    return tuple(n for n, _ in axes), tuple(c for _, c in axes)


def slices(length):
    ends = st.none() | st.integers(-length - 2, length + 2)
    steps = st.none() | st.integers(-12, 12).filter(bool)
    return st.builds(slice, ends, ends, steps)


@st.composite
def indices(draw, shape):
    """An index that NumPy takes: positions, slices, lists, arrays, masks, new axes, an Ellipsis anywhere."""
    lists = draw(st.sampled_from(["none", "none", "one shape", "open mesh"]))
    points = draw(st.integers(0, 4))
    entries, axis = [], 0
    while axis < len(shape) and draw(st.integers(0, 9)):
        length = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "slice", "list", "list", "mask"]))
        if kind == "int" and length:
            entries.append(draw(st.sampled_from([int, np.int64, np.array]))(draw(st.integers(-length, length - 1))))
        elif kind == "list" and lists != "none" and length:
            cells = draw(st.lists(st.integers(-length, length - 1), min_size=points, max_size=points))
            cells = np.array(cells, draw(st.sampled_from(["i8", "i4"]))).reshape(
                [-1] + [1] * (len(shape) - axis if lists == "open mesh" else 0)
            )
            entries.append(cells if draw(st.booleans()) else cells.tolist())
        elif kind == "mask" and not any(isinstance(entry, list | np.ndarray) for entry in entries):
            axes = draw(st.integers(1, len(shape) - axis))
            mask = np.array(
                draw(
                    st.lists(
                        st.booleans(),
                        min_size=np.prod(shape[axis : axis + axes]).item(),
                        max_size=np.prod(shape[axis : axis + axes]).item(),
                    )
                ),
                bool,
            )
            entries.append(mask.reshape(shape[axis : axis + axes]))
            axis += axes - 1
        else:
            entries.append(draw(slices(length)))
        axis += 1
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), Ellipsis)
    if draw(st.integers(0, 3)) == 0:
        entries.insert(draw(st.integers(0, len(entries))), None)
    return entries[0] if len(entries) == 1 and draw(st.booleans()) else tuple(entries)


def taken(cells, key):
    """What NumPy returns, or the error that it raises."""
    try:
        return cells[key]
    except (IndexError, ValueError) as error:
        return error
