"""What the metadata of many datasets say: their arrays as variables, and their attributes. Reads no cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atlas.catalog.meaning import comparable
from atlas.errors import ArrayNotFoundError, InvalidValueError
from atlas.format.attribute_keys import ArrayPrefixes, flatten_key
from atlas.format.attributes import decode_value
from atlas.many.combining import combine_attributes
from atlas.many.plans import Part, plan_variable
from atlas.many.windows import take
from atlas.xarray.attribute_owners import assign_attributes
from atlas.xarray.reading import StoredArray, describe_array

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.many.options import Missing
    from atlas.many.plans import Plan
    from atlas.many.windows import Positions
    from atlas.session import Session

__all__ = ["Fleet"]


class Fleet:
    """Many datasets of a store, in an order of the caller's."""

    def __init__(self, session: Session, labels: list[str]) -> None:
        self.labels = labels
        """Names of the datasets."""
        self.records: list[tuple[str, object]] = []
        """Encoding records of the datasets, each with the first dataset that has it; known after `plans`."""
        self._session = session
        self._layouts = session.view.layouts(labels)
        self.names = list(dict.fromkeys(name for layout in self._layouts for name in layout))
        """Names of the arrays, in the order of the first datasets that have them."""

    def in_order(self, order: NDArray[np.int64]) -> Fleet:
        """Return the same datasets, in the order of their positions."""
        return Fleet(self._session, [self.labels[at] for at in order.tolist()])

    def check_known(self, dims: Iterable[str], argument: str) -> None:
        """Raise `InvalidValueError` where the value of `argument` names something that is no dimension."""
        dims = list(dims)
        known = self.lengths(None) if dims else {}
        for dim in dims:
            if dim not in known:
                raise InvalidValueError(
                    f"{argument} names {dim!r}, which is no dimension of these datasets; they have "
                    f"{', '.join(map(repr, known))}"
                )

    def check_new(self, argument: str, dim: str) -> None:
        """Raise `InvalidValueError` where the name of a new dimension, the value of `argument`, is taken."""
        axes = {dim for layout in self._layouts for entry in layout.values() for dim in entry.schema.dims}
        if dim in self.names or dim in axes:
            raise InvalidValueError(f"{argument} {dim!r} is an array or a dimension of these datasets; choose another")

    def lengths(self, wanted: Sequence[str] | None) -> dict[str, set[int]]:
        """Return the lengths of each dimension of the arrays `wanted`, None for all, in all datasets."""
        found: dict[str, set[int]] = {}
        for entry in self._entries(wanted):
            for dim, length in zip(entry.schema.dims, entry.schema.shape, strict=True):
                found.setdefault(dim, set()).add(length)
        return found

    def first_dimensions(self, wanted: Sequence[str] | None) -> dict[str, None]:
        """Return the first dimensions of these arrays."""
        return {entry.schema.dims[0]: None for entry in self._entries(wanted) if entry.schema.dims}

    def scalars(self, asked: Sequence[str] | bool) -> list[str]:
        """Return the arrays without axes among the names `asked`, True for all.

        Raises `InvalidValueError` where one of those names is an array that has axes.
        """
        found = []
        for name in self.names if asked is True else asked or ():
            of_name = [layout[name].schema for layout in self._layouts if name in layout]
            if of_name and all(not schema.dims for schema in of_name):
                found.append(name)
            elif of_name and asked is not True:
                raise InvalidValueError(
                    f"attributes names {name!r}, an array with the dimensions {list(of_name[0].dims)}, and takes "
                    "attributes and arrays without dimensions; name it in variables="
                )
        return found

    def _entries(self, wanted: Sequence[str] | None) -> Iterator[ArrayEntry]:
        for layout in self._layouts:
            for name, entry in layout.items():
                if wanted is None or name in wanted:
                    yield entry

    def plans(
        self,
        wanted: Sequence[str] | None,
        missing: Missing,
        *,
        aligned: bool = False,
        uneven: Collection[str] = (),
        isel: Positions | None = None,
        filled: Collection[str] = (),
    ) -> list[Plan]:
        """Return every variable, in the order of the first dataset; of those that some lack as `missing` says.

        `wanted` names the variables to take, None for all, and `isel` what is taken of each dataset. `aligned` tells
        whether axes will be aligned by their labels; `uneven` names the dimensions along which lengths may differ, and
        `filled` further variables to take, which some may lack.

        Raises `ArrayNotFoundError`, and `InvalidValueError` for arrays that cannot be one variable.
        """
        if not self.names:
            return []
        wanted = wanted if wanted is None else (*wanted, *filled)
        view = self._session.view
        groups = view.array_attributes(view.select(self.names[0], self.labels))
        owned = [assign_attributes(found, self.names) for found in groups.distinct]
        self.records = [
            (self.labels[at], own.encodings.get(None)) for at, own in zip(groups.first.tolist(), owned, strict=True)
        ]
        for name in wanted or ():
            if name not in self.names:
                raise ArrayNotFoundError(f"variables names {name!r}, which none of the datasets has")
        found: dict[str, tuple[list[Part], NDArray[np.int64]]] = {}
        for name in self.names:
            selection = view.select(name, self.labels)
            parts, described = [], dict[object, StoredArray]()
            for group in selection.groups:
                schema = group.schema
                for number, at in groups.split(group.at):
                    # Arrays that differ in nothing but their shape share their attributes, which are compared once.
                    kind = number, schema.datatype.name, schema.dims, None if schema.fill is None else repr(schema.fill)
                    array = described.get(kind)
                    if array is None:
                        described[kind] = array = describe_array(name, schema, owned[number])
                    elif array.shape != schema.shape:
                        array = replace(array, shape=schema.shape, chunk_shape=schema.chunk_shape)
                    label, record = self.labels[int(at[0])], owned[number].encodings.get(name)
                    taken, window = take(array, label, isel or {})
                    parts.append(Part(at, label, taken, window, schema.datatype.name, schema.memory_dtype, record))
            parts.sort(key=lambda part: int(part.at[0]))
            found[name] = parts, selection.schema
        plans = []
        for name in _chosen({name: parts for name, (parts, _) in found.items()}, wanted):
            parts, entry = found[name]
            if (entry >= 0).all() or self._takes_incomplete(name, parts, entry, "fill" if name in filled else missing):
                plans.append(plan_variable(name, parts, aligned=aligned, uneven=uneven))
        order = {name: at for at, name in enumerate(owned[int(groups.of[0])].order or ())}
        plans.sort(key=lambda plan: order.get(plan.name, len(order)) if order else plan.first.coordinate)
        return plans

    def has_all(self, plan: Plan) -> bool:
        """Return whether all datasets have a variable."""
        return len(plan.at) == len(self.labels)

    def _takes_incomplete(self, name: str, parts: list[Part], entry: NDArray[np.int64], missing: Missing) -> bool:
        if missing == "raise":
            lacking, having = self.labels[int((entry < 0).argmax())], self.labels[int(parts[0].at[0])]
            raise ArrayNotFoundError(
                f"dataset {lacking!r} has no array {name!r}, which dataset {having!r} has; use missing='drop' to leave "
                "it out, missing='fill' to fill it, or variables=[...] to choose others"
            )
        return missing == "fill"

    def attributes(self, how: str | Callable[..., Any]) -> dict[str, Any]:
        """Return the attributes of the datasets as one."""
        view = self._session.view
        if how == "drop_conflicts":
            return self._common_attributes()
        labels = self.labels[:1] if how == "override" else self.labels
        found = [assign_attributes(view.exact_attributes(label), view.entries(label)).dataset for label in labels]
        return combine_attributes("the datasets", found, how)

    def _common_attributes(self) -> dict[str, Any]:
        """Return those that do not differ between datasets that have them."""
        view, prefixes = self._session.view, ArrayPrefixes(self.names)
        selection = view.select(self.names[0] if self.names else "", self.labels)
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


def _chosen(found: dict[str, list[Part]], wanted: Sequence[str] | None) -> list[str]:
    """Return the variables asked for, with the coordinates that lie along their axes."""
    if wanted is None:
        return list(found)
    axes = {dim for name in wanted for part in found[name] for dim in part.array.dims}
    return [
        name
        for name, parts in found.items()
        if name in wanted or all(part.array.coordinate and axes.issuperset(part.array.dims) for part in parts)
    ]
