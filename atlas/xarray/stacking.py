"""Many datasets of the store as one xarray dataset, along a new dimension; in memory.

No cell changes its meaning: variables whose axes, kinds of dtype, units, packing or calendars differ are brought to one
exactly, or refused by name. Coordinates that differ are kept for each dataset. Writes nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.catalog.meaning import comparable
from atlas.errors import ArrayNotFoundError, CorruptStoreError, InvalidTypeError, InvalidValueError
from atlas.format.attribute_keys import ArrayPrefixes, flatten_key
from atlas.format.attributes import decode_value
from atlas.format.names import check_names
from atlas.format.strings import is_missing
from atlas.runtime.threads import run_io
from atlas.xarray.attribute_owners import FILL_KEY, assign_attributes
from atlas.xarray.combining import combine_attributes, common_cells
from atlas.xarray.encoding_record import common_encoding
from atlas.xarray.reading import as_pandas, describe_array, set_encodings
from atlas.xarray.recorded_dtypes import decode_recorded
from atlas.xarray.stack_plans import Part, Plan, plan_variable
from atlas.xarray.unaligned_index import UnalignedIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.session import Session
    from atlas.xarray.interfaces import StoreInterface
    from atlas.xarray.reading import Encodings
    from atlas.xarray.stack_options import StackOptions

__all__ = ["to_xarray_many"]

_SIDE_BY_SIDE = 4
"""Variables that are read at once."""
_PARALLEL_BYTES = 8 << 20
"""Smallest result, in bytes, whose variables are read in parallel: for less, starting threads takes longer."""


def to_xarray_many(
    store: StoreInterface, session: Session, names: Iterable[str], options: StackOptions, *, parallel: bool = True
) -> xr.Dataset:
    """Many datasets stacked along a new dimension, whose coordinate is their names. See `Atlas.to_xarray_many`."""
    labels = check_names("names", names)
    if not isinstance(parallel, bool | np.bool_):
        raise InvalidTypeError(f"parallel is True or False, not {type(parallel).__name__} {parallel!r}")
    if not labels:
        raise InvalidValueError("names is empty; to_xarray_many needs at least one dataset name")
    return _Stack(store, session, labels, options).read(parallel=bool(parallel))


class _Stack:
    """One call of `to_xarray_many`."""

    def __init__(self, store: StoreInterface, session: Session, labels: list[str], options: StackOptions) -> None:
        self._store, self._session, self._labels, self._options = store, session, labels, options
        layouts = session.view.layouts(labels)
        self._names = list(dict.fromkeys(name for layout in layouts for name in layout))
        self._records: list[tuple[str, object]] = []
        self._axes = {dim for layout in layouts for entry in layout.values() for dim in entry.schema.dims}
        if options.concat_dim in self._names or options.concat_dim in self._axes:
            raise InvalidValueError(
                f"concat_dim {options.concat_dim!r} is an array or a dimension of these datasets; choose another"
            )

    def read(self, *, parallel: bool) -> xr.Dataset:
        """Return the stack."""
        plans = self._plans()
        labels = self._equal_labels(plans) if self._aligns else {}
        stacked = self._align(plans) if labels is None else self._stack(plans, labels, parallel=parallel)
        self._set_encodings(stacked, plans)
        return stacked

    def _stack(self, plans: Sequence[Plan], known: dict[str, xr.Variable], *, parallel: bool) -> xr.Dataset:
        """Return the datasets as they lie, without aligning; `known` are variables that have been read."""
        unread = [plan for plan in plans if plan.name not in known]
        size = sum(math.prod(plan.first.shape) * plan.first.dtype.itemsize for plan in unread) * len(self._labels)
        # One read uses all cores by itself; threads only overlap the Python code between large reads.
        side_by_side = parallel and size >= _PARALLEL_BYTES and len(unread) > 1
        read = run_io(self._variable, unread, _SIDE_BY_SIDE) if side_by_side else map(self._variable, unread)
        made = known | {plan.name: variable for plan, variable in zip(unread, read, strict=True)}
        return self._assemble({plan.name: made[plan.name] for plan in plans}, plans)

    def _set_encodings(self, ds: xr.Dataset, plans: Sequence[Plan]) -> None:
        """Set what the encodings of the datasets have in common; decoded variables have none."""
        common: Encodings = {None: _common(self._records, stacked=False)} if self._records else {}
        for plan in plans:
            if not plan.decode:
                records = [(part.label, part.encoding) for part in plan.parts]
                common[plan.name] = _common(records, stacked=ds.variables[plan.name].ndim > len(plan.dims))
        set_encodings(ds, {owner: encoding for owner, encoding in common.items() if encoding})

    # Metadata

    def _plans(self) -> list[Plan]:
        """Return every variable, in the order of the first dataset; of those that some lack as `missing` says."""
        if not self._names:
            return []
        view = self._session.view
        groups = view.array_attributes(view.select(self._names[0], self._labels))
        owned = [assign_attributes(found, self._names) for found in groups.distinct]
        self._records = [
            (self._labels[at], own.encodings.get(None)) for at, own in zip(groups.first.tolist(), owned, strict=True)
        ]
        wanted = self._options.variables
        for name in wanted or ():
            if name not in self._names:
                raise ArrayNotFoundError(f"variables names {name!r}, which none of the datasets has")
        found: dict[str, tuple[list[Part], NDArray[np.int64]]] = {}
        for name in self._names:
            selection = view.select(name, self._labels)
            parts = []
            for group in selection.groups:
                for number, at in groups.split(group.at):
                    array, record = describe_array(name, group.schema, owned[number]), owned[number].encodings.get(name)
                    parts.append(Part(at, self._labels[int(at[0])], array, group.schema.datatype.name, record))
            parts.sort(key=lambda part: int(part.at[0]))
            found[name] = parts, selection.schema
        plans = []
        for name in self._chosen({name: parts for name, (parts, _) in found.items()}):
            parts, entry = found[name]
            if (entry >= 0).all() or self._takes_incomplete(name, parts, entry):
                plans.append(plan_variable(name, parts, aligned=self._aligns))
        order = {name: at for at, name in enumerate(owned[int(groups.of[0])].order or ())}
        plans.sort(key=lambda plan: order.get(plan.name, len(order)) if order else plan.first.coordinate)
        return plans

    @property
    def _aligns(self) -> bool:
        return self._options.join in ("outer", "inner")

    def _takes_incomplete(self, name: str, parts: list[Part], entry: NDArray[np.int64]) -> bool:
        if self._options.missing == "raise":
            lacking, having = self._labels[int(np.argmax(entry < 0))], self._labels[int(parts[0].at[0])]
            raise ArrayNotFoundError(
                f"dataset {lacking!r} has no array {name!r}, which dataset {having!r} has; use missing='drop' to leave "
                "it out, missing='fill' to fill it, or variables=[...] to choose others"
            )
        return self._options.missing == "fill"

    def _chosen(self, found: dict[str, list[Part]]) -> list[str]:
        """Return the variables asked for, with the coordinates that lie along their axes."""
        wanted = self._options.variables
        if wanted is None:
            return list(found)
        axes = {dim for name in wanted for part in found[name] for dim in part.array.dims}
        return [
            name
            for name, parts in found.items()
            if name in wanted or all(part.array.coordinate and axes.issuperset(part.array.dims) for part in parts)
        ]

    # Cells

    def _variable(self, plan: Plan) -> xr.Variable:
        """Return the variable along the new dimension, or without it where it is an equal coordinate of all."""
        if self._is_known_equal(plan):
            (part,) = plan.reads
            cells, attrs = self._read_part(plan, replace(part, at=part.at[:1]))
            return xr.Variable(plan.dims, as_pandas(plan.first, cells[0]), self._attributes(plan, [attrs]))
        read = [self._read_part(plan, part) for part in plan.reads]
        attrs = self._attributes(plan, [attrs for _, attrs in read])
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

    def _attributes(self, plan: Plan, decoded: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the attributes of the variable as one; `decoded` are those that decoding has left of each part."""
        found = decoded if plan.decode else [part.array.attrs for part in plan.parts]
        attrs = combine_attributes(f"variable {plan.name!r}", found, self._options.combine_attrs)
        if not plan.decode:  # its cells have the fill value of the first
            attrs.pop(FILL_KEY, None)
            attrs |= {key: value for key, value in plan.first.attrs.items() if key == FILL_KEY}
        return attrs

    def _read_part(self, plan: Plan, part: Part) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return the cells of a part, its axes in the order of the plan, and its attributes."""
        array = part.array
        names = self._labels if len(part.at) == len(self._labels) else [self._labels[at] for at in part.at.tolist()]
        cells = self._store.read_array_across_stacked(plan.name, names)
        if array.xarray_dtype is not None:
            cells = decode_recorded(plan.name, cells, array.xarray_dtype, widens=True)
        # Of equal lists of dimensions a name may occur twice.
        same = array.dims == plan.dims
        axes = [1 + (axis if same else plan.dims.index(dim)) for axis, dim in enumerate(array.dims)]
        if not plan.decode:
            return np.moveaxis(cells, range(1, cells.ndim), axes), array.attrs
        raw = xr.Variable((self._options.concat_dim, *array.dims), cells, array.attrs)
        try:
            decoded = xr.conventions.decode_cf_variable(plan.name, raw, concat_characters=False, decode_timedelta=False)
            values = decoded.to_numpy()  # only now it is decoded
        except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError) as error:
            raise InvalidValueError(
                f"array {plan.name!r} has another packing or reference date in some datasets than in others, and that "
                f"of dataset {part.label!r} cannot be decoded: {error}; leave it out with variables="
            ) from error
        return np.moveaxis(values, range(1, cells.ndim), axes), dict(decoded.attrs)

    def _joined(self, plan: Plan, parts: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the cells of all parts in the order of the datasets, (N, *shape)."""
        known = sum(len(part.at) for part in plan.reads)
        if len(parts) == 1 and known == len(self._labels):
            return parts[0]
        parts = common_cells(plan.name, parts)
        dtype = parts[0].dtype
        if known < len(self._labels):
            filler = self._filler(plan, dtype)
            dtype = np.dtype(object) if dtype.kind == "S" else dtype  # a fill may be longer than all cells
        out = np.empty((len(self._labels), *parts[0].shape[1:]), dtype)
        if known < len(self._labels):
            out[...] = filler
        for part, cells in zip(plan.reads, parts, strict=True):
            out[part.at] = cells
        return out

    def _filler(self, plan: Plan, dtype: np.dtype[Any]) -> Any:
        """Return what a variable has in datasets that lack it."""
        if FILL_KEY in plan.first.attrs and not plan.decode:
            fill = plan.first.attrs[FILL_KEY]
            try:
                cell = np.asarray(fill, object if dtype.kind in "OST" else dtype).reshape(())[()]
            except (ValueError, TypeError, OverflowError):
                cell = None
            if comparable(cell) == comparable(fill) or dtype.kind in "mM":
                return cell
            raise InvalidValueError(f"_FillValue {fill!r} of variable {plan.name!r} is no cell of {dtype}; set it anew")
        if dtype.kind in "mM":
            return np.array("NaT", dtype)[()]
        missing = {"f": np.nan, "O": None, "S": None, "T": getattr(dtype, "na_object", "")}
        if dtype.kind not in missing:
            raise InvalidValueError(
                f"missing='fill' has nothing to fill variable {plan.name!r} of {dtype} with, as it has no _FillValue; "
                "use missing='drop' or variables="
            )
        return missing[dtype.kind]

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

    # The dataset

    def _assemble(self, variables: dict[str, xr.Variable], plans: Sequence[Plan]) -> xr.Dataset:
        dim = self._options.concat_dim
        coordinates = {plan.name for plan in plans if plan.first.coordinate}
        coords: dict[Any, Any] = {name: variables[name] for name in variables if name in coordinates}
        coords[dim] = self._labels
        unaligned = [plan.name for plan in plans if plan.labels_axis and variables[plan.name].ndim > 1]
        usual = not unaligned and all(
            plan.first.indexed == (plan.dims == (plan.name,)) for plan in plans if plan.name in coordinates
        )
        data = {name: variable for name, variable in variables.items() if name not in coordinates}
        attrs = self._dataset_attributes()
        try:
            ds = xr.Dataset(data, coords if usual else xr.Coordinates(coords, indexes={}), attrs)
            ds = ds if usual else ds.set_xindex(dim)
            for plan in () if usual else plans:
                if plan.name in unaligned:
                    ds = ds.set_xindex(plan.name, UnalignedIndex)
                elif plan.first.indexed and plan.name in coordinates and variables[plan.name].dims == plan.dims:
                    ds = ds.set_xindex(plan.name)
        except ValueError as error:
            raise InvalidValueError(
                f"the arrays of dataset {self._labels[0]!r} do not fit in one xr.Dataset: {error}; read them with "
                "read_array_across_stacked"
            ) from error
        order = [*variables, dim]
        return ds if list(ds.variables) == order else ds[order]

    def _dataset_attributes(self) -> dict[str, Any]:
        """Return the attributes of the datasets as one."""
        view, how = self._session.view, self._options.combine_attrs
        if how == "drop_conflicts":
            return self._common_attributes()
        labels = self._labels[:1] if how == "override" else self._labels
        found = [assign_attributes(view.exact_attributes(label), view.entries(label)).dataset for label in labels]
        return combine_attributes("the datasets", found, how)

    def _common_attributes(self) -> dict[str, Any]:
        """Return those that do not differ between datasets that have them."""
        view, prefixes = self._session.view, ArrayPrefixes(self._names)
        selection = view.select(self._names[0] if self._names else "", self._labels)
        values: dict[str, tuple[AttributeKey, list[object]]] = {
            flatten_key(key): (key, self._distinct(found)) for key, found in view.own_attributes(selection).items()
        }
        for attributes in view.array_attributes(selection).distinct:
            for key, value in attributes.items():
                if prefixes.split(flatten_key(key))[0] is None:
                    values.setdefault(flatten_key(key), (key, []))[1].append(value)
        agreed = {key: found[0] for key, found in values.values() if len(set(map(comparable, found))) == 1}
        return assign_attributes(agreed, ()).dataset

    @staticmethod
    def _distinct(encoded: list[Any]) -> list[object]:
        """Return the first exact value, and one that differs from it if there is any."""
        first = decode_value(encoded[0])
        same = comparable(first)
        other = next((value for value in map(decode_value, encoded[1:]) if comparable(value) != same), None)
        return [first] if other is None else [first, other]

    # Labels that differ

    def _equal_labels(self, plans: Sequence[Plan]) -> dict[str, xr.Variable] | None:
        """Return the labels of all axes, None where they or the lengths of an axis differ between datasets."""
        for plan in plans:
            if len({tuple(sorted(zip(part.array.dims, part.array.shape, strict=True))) for part in plan.parts}) > 1:
                return None
        labels = {plan.name: self._variable(plan) for plan in plans if plan.labels_axis}
        return None if any(variable.ndim > 1 for variable in labels.values()) else labels

    def _align(self, plans: Sequence[Plan]) -> xr.Dataset:
        """Return the datasets aligned by their labels, one by one."""
        dim, count = self._options.concat_dim, len(self._labels)
        for plan in plans:
            if sum(len(part.at) for part in plan.parts) < count:
                raise InvalidValueError(
                    f"missing='fill' does not go with join={self._options.join!r} where labels differ, as some "
                    f"datasets lack variable {plan.name!r}; use missing='drop' or variables="
                )
        singles: list[dict[str, xr.Variable]] = [{} for _ in self._labels]
        attrs: dict[str, dict[str, Any]] = {}
        for plan in plans:
            read = [self._read_part(plan, part) for part in plan.parts]
            attrs[plan.name] = self._attributes(plan, [found for _, found in read])
            cells = common_cells(plan.name, [cells for cells, _ in read])
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
        return aligned.assign_attrs(self._dataset_attributes())

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


def _common(records: Sequence[tuple[str, object]], *, stacked: bool) -> dict[str, Any]:
    """Return what the encodings of several datasets, each with its name, have in common."""
    name = records[0][0]
    try:
        for name, record in records:  # noqa: B007 - it is what the error names
            common_encoding([record], stacked=stacked)
        return common_encoding([record for _, record in records], stacked=stacked)
    except InvalidValueError as error:
        raise CorruptStoreError(
            f"an encoding of dataset {name!r} is damaged: {error}; restore the store from a copy, or read the cells "
            "with read_array_across_stacked",
            dataset=name,
        ) from error
