"""Groups of a NetCDF file as parts of one dataset: names, dimensions, attributes that name variables. Reads no cells.

What is in a group gets the names of its groups before its own, joined by "__". Attributes of the CF conventions that
name variables and dimensions name them so too, wherever the scope of the group finds them (CF, 2.7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.errors import InvalidValueError
from atlas.ingest.hidden_contents import GROUP_JOINT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GroupPart", "flatten_groups"]

_NAMING_VARIABLES = frozenset(
    {"ancillary_variables", "bounds", "cell_measures", "climatology", "coordinates", "formula_terms", "geometry",
     "grid_mapping", "interior_ring", "node_coordinates", "node_count", "nodes", "part_node_count"}
)  # fmt: skip
"""Attributes of CF that name variables."""
_NAMING_DIMENSIONS = frozenset({"instance_dimension", "sample_dimension"})
"""Attributes of CF that name dimensions."""


@dataclass(frozen=True, slots=True)
class GroupPart:
    """A group, and what its names get before them."""

    prefix: str
    """The names of its groups, each with "__" after it; "" for the root."""
    group: Any
    """The group as netCDF4 has opened it."""

    def dims(self, variable: Any) -> tuple[str, ...]:
        """Return the names of the dimensions of a variable."""
        if not self.prefix:
            return tuple(variable.dimensions)
        return tuple(_prefix(dim.group()) + dim.name for dim in variable.get_dims())

    def named(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return attributes that name variables and dimensions as they are called in the dataset."""
        if not self.prefix:
            return attrs
        return {key: self._rename(key, value) for key, value in attrs.items()}

    def _rename(self, key: str, value: Any) -> Any:
        kind = "variables" if key in _NAMING_VARIABLES else "dimensions" if key in _NAMING_DIMENSIONS else None
        if kind is None or not isinstance(value, str):
            return value
        # Words that end in a colon say what the names after them are for.
        return re.sub(r"\S+", lambda found: found[0] if found[0].endswith(":") else self._find(kind, found[0]), value)

    def _find(self, kind: str, name: str) -> str:
        """Return what a variable or dimension is called that the scope of the group finds; else the name itself."""
        path, _, last = name.rpartition("/")
        group = self.group
        while group is not None:
            inner = _group_at(group, path)
            if inner is not None and last in getattr(inner, kind):
                return _prefix(inner) + last
            group = group.parent
        return name


def flatten_groups(file: Any) -> list[GroupPart]:
    """Return the root and all groups of a file, each before those that are in it.

    Raises `InvalidValueError` where two variables or dimensions would have one name.
    """
    parts = list(_parts(file))
    for kind in ("variables", "dimensions"):
        owners: dict[str, str] = {}
        for part in parts:
            for name in getattr(part.group, kind):
                path = f"{part.group.path.rstrip('/')}/{name}"
                other = owners.setdefault(part.prefix + name, path)
                if other != path:
                    raise InvalidValueError(
                        f"the {kind} {other} and {path} would both be called {part.prefix + name!r}; rename one in the "
                        "file, or write each group to a file of its own"
                    )
    return parts


def _parts(group: Any) -> Iterator[GroupPart]:
    yield GroupPart(_prefix(group), group)
    for inner in group.groups.values():
        yield from _parts(inner)


def _prefix(group: Any) -> str:
    path = group.path.strip("/")
    return path.replace("/", GROUP_JOINT) + GROUP_JOINT if path else ""


def _group_at(group: Any, path: str) -> Any:
    """Return the group at a path within another, None where there is none; "" at its beginning is no group."""
    for name in filter(None, path.split("/")):
        if name not in group.groups:
            return None
        group = group.groups[name]
    return group
