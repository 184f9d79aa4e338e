"""Variables of many datasets in memory: stacked along a new dimension, or once where all have the same cells."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.many.combining import equal_cells
from atlas.many.lazy_cells import StackedCells
from atlas.many.part_cells import attributes_of, variable_dtype
from atlas.many.rows import lengths_of, read_flat
from atlas.xarray.reading import as_pandas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.many.bulk_reads import Reads
    from atlas.many.options import StackOptions
    from atlas.many.plans import Part, Plan

__all__ = ["StackedVariables"]

_COMPARED_BYTES = 64 << 20
"""Cells that are read at once to be compared, in bytes."""


class StackedVariables:
    """Reads variables of some datasets, stacked."""

    def __init__(self, reads: Reads, labels: list[str], options: StackOptions) -> None:
        self._reads, self._labels, self._options = reads, labels, options

    def read(self, plan: Plan, *, once: bool | None = None) -> xr.Variable:
        """Return the variable along the new dimension, or without it where all are equal, if `once`.

        Coordinates are taken once by default, data are not.
        """
        if not (plan.first.coordinate if once is None else once):
            cells, attrs = self._read(plan)
            # See `to_xarray`: xarray converts what is given otherwise.
            as_stored = not plan.decode and plan.first.xarray_dtype is None and cells.dtype.kind != "O"
            return xr.Variable(self._stacked_dims(plan), cells, attrs, fastpath=as_stored)
        if self._is_known_equal(plan):
            return self._read_once(plan, 0)
        if plan.is_padded and len(plan.dims) == 1:
            return self._read_uneven(plan)
        cells, attrs = self._read(plan)
        first = int(plan.parts[0].at[0])
        differs = self._find_differing(plan, cells, cells[first : first + 1])
        if differs is None or (self._options.join == "override" and plan.labels_axis):
            return xr.Variable(plan.dims, as_pandas(plan.first, cells[first]), attrs)
        if self._options.join == "exact" and plan.labels_axis:
            raise self._refuse(plan, first, differs)
        return xr.Variable(self._stacked_dims(plan), cells, attrs)

    def _read_uneven(self, plan: Plan) -> xr.Variable:
        """Return a coordinate of different lengths: once, where shorter ones are how the longest begins."""
        lengths = lengths_of(plan, plan.dims[0], len(self._labels))
        offsets = np.append(0, np.cumsum(lengths))
        cells, decoded = read_flat(self._reads, self._labels, plan, offsets)
        longest = int(np.argmax(lengths))
        whole = cells[offsets[longest] : offsets[longest + 1]]
        within = np.arange(len(cells)) - np.repeat(offsets[:-1], lengths)
        same = self._are_equal(plan, cells, whole[within])
        if same.all():
            return xr.Variable(plan.dims, as_pandas(plan.first, whole), self._combined(plan, decoded))
        if self._options.join == "exact" and plan.labels_axis:
            differs = int(np.searchsorted(offsets, int(np.argmin(same)), "right")) - 1
            raise self._refuse(plan, longest, differs)
        return xr.Variable(self._stacked_dims(plan), *self._read(plan))

    def read_equal(self, plan: Plan) -> xr.Variable:
        """Return a variable that is equal in all datasets that have it, without the new dimension.

        Raises `InvalidValueError` where it differs; labels of an axis may, with `join="override"`.
        """
        first = int(plan.parts[0].at[0])
        if self._is_known_equal(plan) or (self._options.join == "override" and plan.labels_axis):
            return self._read_once(plan, first)
        having = plan.at
        itemsize = plan.first.dtype.itemsize
        some = max(1, _COMPARED_BYTES // max(math.prod(plan.shape) * itemsize, 1))
        base, attrs = self._read(plan, having[:some])
        for begin in range(0, len(having), some):
            cells = self._read(plan, having[begin : begin + some])[0] if begin else base
            differs = self._find_differing(plan, cells, base[:1])
            if differs is not None:
                raise self._refuse(plan, first, int(having[begin + differs]))
        return xr.Variable(plan.dims, as_pandas(plan.first, base[0]), attrs)

    def _read_once(self, plan: Plan, row: int) -> xr.Variable:
        """Return the variable of one dataset."""
        cells, attrs = self._read(plan, slice(row, row + 1))
        return xr.Variable(plan.dims, as_pandas(plan.first, cells[0]), attrs)

    def _read(self, plan: Plan, rows: slice | NDArray[np.int64] = slice(None)) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return the cells of the datasets at `rows`, (M, ...), and the attributes of the variable."""
        dtype, decoded = variable_dtype(plan, filled=len(plan.at) < len(self._labels) or plan.is_padded)
        shape = (len(self._labels), *plan.shape)
        cells = StackedCells(self._reads, self._labels, plan, shape, dtype, widens=True)
        return cells[(rows, *(slice(None) for _ in plan.dims))], self._combined(plan, decoded)

    def cells_of_part(self, plan: Plan, part: Part) -> NDArray[Any]:
        """Return the cells of the datasets of one part of a plan: (M, ...)."""
        labels = [self._labels[at] for at in part.at.tolist()]
        alone = replace(part, at=np.arange(len(labels)))
        own = replace(plan, parts=(alone,), reads=(alone,))
        return StackedVariables(self._reads, labels, self._options).read(own, once=False).to_numpy()

    def _stacked_dims(self, plan: Plan) -> tuple[str, ...]:
        return (self._options.concat_dim, *plan.dims)

    def attributes(self, plan: Plan) -> dict[str, Any]:
        """Return the attributes of the variable as one."""
        return self._combined(plan, variable_dtype(plan, filled=False)[1])

    def _combined(self, plan: Plan, decoded: list[dict[str, Any]]) -> dict[str, Any]:
        return attributes_of(plan, decoded, self._options.combine_attrs)

    def _is_known_equal(self, plan: Plan) -> bool:
        """Return whether a variable is a coordinate that is known to be equal in all datasets, without being read."""
        alike = plan.first.coordinate and len(plan.reads) == 1 and len(plan.reads[0].at) == len(self._labels)
        if not alike or plan.is_padded or len({part.window for part in plan.parts}) > 1:
            return False
        return self._reads.read(lambda reader: reader.are_known_equal(plan.name, self._labels))

    def _refuse(self, plan: Plan, first: int, differs: int) -> InvalidValueError:
        one, other = self._labels[first], self._labels[differs]
        if plan.labels_axis:
            return InvalidValueError(
                f"the labels {plan.name!r} differ between datasets {one!r} and {other!r}, which must be equal here; "
                "to_xarray_many() with join='outer' or 'inner' aligns them, join='override' takes the first one's, and "
                "to_xarray_many() with tolerance= allows small differences"
            )
        return InvalidValueError(
            f"variable {plan.name!r} does not lie along the dimension that datasets follow one another on, and differs "
            f"between datasets {one!r} and {other!r}; leave it out with variables=, or use combine='ragged', which "
            "keeps each"
        )

    def _find_differing(self, plan: Plan, cells: NDArray[Any], base: NDArray[Any]) -> int | None:
        """Return a row of `cells` (M, ...) that is not `base` (1, ...), None where all are equal."""
        same = self._are_equal(plan, cells, base).reshape(len(cells), -1).all(axis=1)
        return None if same.all() else int(np.argmin(same))

    def _are_equal(self, plan: Plan, cells: NDArray[Any], base: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which cells equal those of `base`, or are as near as the tolerance."""
        same = equal_cells(cells, base)
        if self._options.tolerance is not None and cells.dtype.kind in "iuf":
            # As unsigned integers, differences of integers do not wrap around.
            high, low = np.maximum(cells, base), np.minimum(cells, base)
            apart = high - low if cells.dtype.kind == "f" else high.astype("u8") - low.astype("u8")
            scale = plan.first.attrs.get("scale_factor", 1) if not plan.decode else 1
            unit = abs(float(scale)) if isinstance(scale, int | float | np.number) and scale else 1.0
            same |= apart * unit <= self._options.tolerance
        return same
