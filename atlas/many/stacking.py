"""Many datasets of the store as one xarray dataset, along a new dimension; in memory.

No cell changes its meaning: variables whose axes, kinds of dtype, units, packing or calendars differ are brought to one
exactly, or refused by name. Coordinates that differ are kept for each dataset. Writes nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.format.names import check_names
from atlas.many.bulk_reads import HandleReads
from atlas.many.combining import common_cells
from atlas.many.encodings import set_common_encodings
from atlas.many.fleet import Fleet
from atlas.many.padded import assemble_stack
from atlas.many.stacked_variables import StackedVariables
from atlas.runtime.arguments import check_flag
from atlas.runtime.threads import run_io

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from atlas.many.options import StackOptions
    from atlas.many.plans import Plan
    from atlas.session import Session

__all__ = ["to_xarray_many"]

_SIDE_BY_SIDE = 4
"""Variables that are read at once."""
_PARALLEL_BYTES = 8 << 20
"""Smallest result, in bytes, whose variables are read in parallel: for less, starting threads takes longer."""


def to_xarray_many(
    session: Session, names: Iterable[str], options: StackOptions, *, parallel: bool = True
) -> xr.Dataset:
    """Many datasets stacked along a new dimension, whose coordinate is their names. See `Atlas.to_xarray_many`."""
    labels = check_names("names", names)
    check_flag("parallel", parallel)
    if not labels:
        raise InvalidValueError("names is empty; to_xarray_many needs at least one dataset name")
    return _Stack(session, labels, options).read(parallel=bool(parallel))


class _Stack:
    """One call of `to_xarray_many`."""

    def __init__(self, session: Session, labels: list[str], options: StackOptions) -> None:
        self._labels, self._options = labels, options
        self._fleet = Fleet(session, labels)
        self._fleet.check_new("concat_dim", options.concat_dim)
        self._variables = StackedVariables(HandleReads(session), labels, options)

    def read(self, *, parallel: bool) -> xr.Dataset:
        """Return the stack."""
        aligns = self._options.join in ("outer", "inner")
        pads = self._options.missing == "fill"
        uneven = self._fleet.lengths(None) if aligns or pads else ()
        plans = self._fleet.plans(self._options.variables, self._options.missing, aligned=aligns, uneven=uneven)
        labels = self._equal_labels(plans) if aligns else {}
        return self._align(plans) if labels is None else self._stack(plans, labels, parallel=parallel)

    def _stack(self, plans: Sequence[Plan], known: dict[str, xr.Variable], *, parallel: bool) -> xr.Dataset:
        """Return the datasets as they lie, without aligning; `known` are variables that have been read."""
        unread = [plan for plan in plans if plan.name not in known]
        size = sum(math.prod(plan.first.shape) * plan.first.dtype.itemsize for plan in unread) * len(self._labels)
        # One read uses all cores by itself; threads only overlap the Python code between large reads.
        side_by_side = parallel and size >= _PARALLEL_BYTES and len(unread) > 1
        read = (
            run_io(self._variables.read, unread, _SIDE_BY_SIDE) if side_by_side else map(self._variables.read, unread)
        )
        made = known | {plan.name: variable for plan, variable in zip(unread, read, strict=True)}
        ordered = {plan.name: made[plan.name] for plan in plans}
        return assemble_stack(ordered, plans, self._fleet, self._options)

    # Labels that differ

    def _equal_labels(self, plans: Sequence[Plan]) -> dict[str, xr.Variable] | None:
        """Return the labels of all axes, None where they or the lengths of an axis differ between datasets."""
        for plan in plans:
            if len({tuple(sorted(zip(part.array.dims, part.array.shape, strict=True))) for part in plan.parts}) > 1:
                return None
        labels = {plan.name: self._variables.read(plan) for plan in plans if plan.labels_axis}
        return None if any(variable.ndim > 1 for variable in labels.values()) else labels

    def _align(self, plans: Sequence[Plan]) -> xr.Dataset:
        """Return the datasets aligned by their labels, one by one."""
        dim = self._options.concat_dim
        for plan in plans:
            if not self._fleet.has_all(plan):
                raise InvalidValueError(
                    f"missing='fill' does not go with join={self._options.join!r} where labels differ, as some "
                    f"datasets lack variable {plan.name!r}; use missing='drop' or variables="
                )
        singles: list[dict[str, xr.Variable]] = [{} for _ in self._labels]
        attrs: dict[str, dict[str, Any]] = {}
        for plan in plans:
            attrs[plan.name] = self._variables.attributes(plan)
            cells = common_cells(plan.name, [self._variables.cells_of_part(plan, part) for part in plan.parts])
            self._check_floats(plan, cells)
            dims = plan.dims if plan.first.coordinate else (dim, *plan.dims)
            for part, own in zip(plan.parts, cells, strict=True):
                for at, row in zip(part.at.tolist(), own, strict=True):
                    singles[at][plan.name] = xr.Variable(dims, row if plan.first.coordinate else np.asarray(row)[None])
        coordinates = [plan.name for plan in plans if plan.first.coordinate]
        try:
            aligned: xr.Dataset = xr.concat(  # type: ignore[call-overload]
                [
                    xr.Dataset(variables).set_coords(coordinates).assign_coords({dim: [label]})
                    for label, variables in zip(self._labels, singles, strict=True)
                ],
                dim,
                data_vars=[plan.name for plan in plans if not plan.first.coordinate],
                coords="different",
                compat="equals",
                join=self._options.join,
            )
        except (ValueError, TypeError) as error:
            raise InvalidValueError(f"join={self._options.join!r} cannot align these datasets: {error}") from error
        for name, combined in attrs.items():
            aligned[name].attrs = combined
        aligned = aligned.assign_attrs(self._fleet.attributes(self._options.combine_attrs))
        set_common_encodings(aligned, self._fleet.records, plans)
        return aligned

    def _check_floats(self, plan: Plan, cells: Sequence[NDArray[Any]]) -> None:
        """Refuse integers that are lost where an outer join makes floats of them, to have NaN for what is missing."""
        most = 2**53
        for part in cells:
            is_large = part.dtype.kind in "iu" and part.dtype.itemsize == 8 and not plan.labels_axis
            if is_large and part.size and (int(part.max()) > most or int(part.min()) < -most):
                raise InvalidValueError(
                    f"variable {plan.name!r} holds integers beyond 2**53, of which join={self._options.join!r} would "
                    "make floats that do not keep them; use join='exact', or leave it out with variables="
                )
