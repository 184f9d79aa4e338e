"""Variables of many datasets, stacked along a new dimension. Reads their cells in bulk; writes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.format.strings import is_missing
from atlas.many.combining import common_cells
from atlas.many.part_cells import attributes_of, decode_part, filler
from atlas.xarray.reading import as_pandas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.many.options import StackOptions
    from atlas.many.plans import Part, Plan
    from atlas.session import Session
    from atlas.xarray.interfaces import StoreInterface

__all__ = ["StackedVariables"]


class StackedVariables:
    """Reads variables of some datasets, stacked."""

    def __init__(self, store: StoreInterface, session: Session, labels: list[str], options: StackOptions) -> None:
        self._store, self._session, self._labels, self._options = store, session, labels, options

    def read(self, plan: Plan) -> xr.Variable:
        """Return the variable along the new dimension, or without it where it is an equal coordinate of all."""
        how = self._options.combine_attrs
        if self._is_known_equal(plan):
            (part,) = plan.reads
            cells, attrs = self.read_part(plan, replace(part, at=part.at[:1]))
            return xr.Variable(plan.dims, as_pandas(plan.first, cells[0]), attributes_of(plan, [attrs], how))
        read = [self.read_part(plan, part) for part in plan.reads]
        attrs = attributes_of(plan, [attrs for _, attrs in read], how)
        cells = self._joined(plan, [cells for cells, _ in read])
        # See `to_xarray`: xarray converts what is given otherwise.
        as_stored = not plan.decode and plan.first.xarray_dtype is None and cells.dtype.kind != "O"
        if not plan.first.coordinate:
            return xr.Variable((self._options.concat_dim, *plan.dims), cells, attrs, fastpath=as_stored)
        first = int(plan.parts[0].at[0])
        differs = self._differing(plan, cells, first)
        if differs is None or (self._options.join == "override" and plan.labels_axis):
            return xr.Variable(plan.dims, as_pandas(plan.first, cells[first]), attrs)
        if self._options.join == "exact" and plan.labels_axis:
            raise InvalidValueError(
                f"the labels {plan.name!r} differ between datasets {self._labels[first]!r} and "
                f"{self._labels[differs]!r}, which join='exact' refuses; use join='outer' or 'inner' to align them, "
                "'override' to take the first one's, or tolerance= for small differences"
            )
        return xr.Variable((self._options.concat_dim, *plan.dims), cells, attrs)

    def _is_known_equal(self, plan: Plan) -> bool:
        """Return whether a variable is a coordinate that is known to be equal in all datasets, without being read."""
        alike = plan.first.coordinate and len(plan.reads) == 1 and len(plan.reads[0].at) == len(self._labels)
        return alike and self._session.reader.are_known_equal(plan.name, self._labels)

    def read_part(self, plan: Plan, part: Part) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return the cells of a part, its axes in the order of the plan, and its attributes."""
        names = self._labels if len(part.at) == len(self._labels) else [self._labels[at] for at in part.at.tolist()]
        return decode_part(plan, part, self._store.read_array_across_stacked(plan.name, names), leads=True, widens=True)

    def _joined(self, plan: Plan, parts: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the cells of all parts in the order of the datasets, (N, *shape)."""
        known = sum(len(part.at) for part in plan.reads)
        if len(parts) == 1 and known == len(self._labels):
            return parts[0]
        parts = common_cells(plan.name, parts)
        dtype = parts[0].dtype
        if known < len(self._labels):
            missing = filler(plan, dtype)
            dtype = np.dtype(object) if dtype.kind == "S" else dtype  # a fill may be longer than all cells
        out = np.empty((len(self._labels), *parts[0].shape[1:]), dtype)
        if known < len(self._labels):
            out[...] = missing
        for part, cells in zip(plan.reads, parts, strict=True):
            out[part.at] = cells
        return out

    def _differing(self, plan: Plan, cells: NDArray[Any], first: int) -> int | None:
        """Return a dataset whose cells are not those of the dataset number `first`, None where all are equal."""
        if cells.dtype.kind in "OST":
            rows = cells.reshape(len(cells), -1).tolist()
            rows = [[None if is_missing(cell) else cell for cell in row] for row in rows]
            return next((at for at, row in enumerate(rows) if row != rows[first]), None)
        base = cells[first : first + 1]
        same = cells == base
        if cells.dtype.kind in "fmM":
            same |= (cells != cells) & (base != base)  # noqa: PLR0124 - NaN and NaT
        if self._options.tolerance is not None and cells.dtype.kind in "iuf":
            # As unsigned integers, differences of integers do not wrap around.
            high, low = np.maximum(cells, base), np.minimum(cells, base)
            apart = high - low if cells.dtype.kind == "f" else high.astype("u8") - low.astype("u8")
            scale = plan.first.attrs.get("scale_factor", 1) if not plan.decode else 1
            unit = abs(float(scale)) if isinstance(scale, int | float | np.number) and scale else 1.0
            same |= apart * unit <= self._options.tolerance
        same = same.reshape(len(cells), -1).all(axis=1)
        return None if same.all() else int(np.argmin(same))
