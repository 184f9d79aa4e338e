"""Schemas of declarations that were checked before: programs declare the same array thousands of times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.format.schema import make_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from atlas.format.schema import ArraySchema

__all__ = ["SchemaCache"]

_MOST = 1024


class SchemaCache:
    """Makes schemas and remembers them; safe from many threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], ArraySchema] = {}

    def make(
        self,
        dtype: Any,
        dims: Sequence[str],
        shape: Sequence[int],
        chunk_shape: Sequence[int] | None,
        fill_value: Any,
        *,
        nan_is_missing: bool = False,
    ) -> ArraySchema:
        """Return the schema of a declaration. See `make_schema` for the errors."""
        key: tuple[object, ...] | None = None
        try:
            chunk = None if chunk_shape is None else tuple(chunk_shape)
            key = (
                dtype, tuple(dims), tuple(shape), chunk, type(dims), type(fill_value), repr(fill_value), nan_is_missing,
                *map(type, shape), *map(type, chunk or ()),
            )  # fmt: skip
            known = self._known.get(key)
        except TypeError:  # an argument that cannot be hashed or iterated: `make_schema` names it
            known = None
        if known is None:
            known = make_schema(dtype, dims, shape, chunk_shape, fill_value, nan_is_missing=nan_is_missing)
            if key is not None:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = known
        return known
