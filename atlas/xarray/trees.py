"""Many datasets as a tree, a node for each, however much they differ: `xr.DataTree`. Reads indexes in bulk, no more.

Names of datasets hold no slash, so that the root, which is empty, has every dataset as a child, and no two nodes have
coordinates in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.names import check_names
from atlas.xarray.opening import open_lazily
from atlas.xarray.reading import read_metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from atlas.session import Session
    from atlas.xarray.interfaces import StoreInterface
    from atlas.xarray.reading import Metadata

__all__ = ["LIMIT", "open_each", "to_datatree"]

LIMIT = 1000
"""Nodes that a tree has at most, unless the caller allows more: each takes about two milliseconds."""


def to_datatree(
    store: StoreInterface, session: Session, names: Sequence[str] | None = None, *, limit: int | None = None
) -> xr.DataTree:
    """The datasets `names` of the store, or all, as the children of an empty root.

    Raises `DatasetNotFoundError`, and `InvalidValueError` for a name given twice or more than `limit` datasets.
    """
    each = open_each(store, session, names, limit=limit, indexes=True)
    return xr.DataTree.from_dict({f"/{name}": ds for name, ds in each.items()})


def open_each(
    store: StoreInterface,
    session: Session,
    names: Sequence[str] | None = None,
    decoders: Mapping[str, Any] | None = None,
    *,
    dropped: Collection[str] = (),
    limit: int | None = None,
    indexes: bool = False,
) -> dict[str, xr.Dataset]:
    """Open many datasets of the store as `opening.open_lazily` does; coordinates to be indexed are in memory."""
    wanted = _wanted(session, names, limit)
    views = {name: store.open_dataset(name) for name in wanted}
    metadata = {name: read_metadata(session, name) for name in wanted}
    loaded: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in wanted}
    for array, owners in _indexed(metadata, dropped).items():
        for name, cells in zip(owners, store.read_array_across(array, owners), strict=True):
            if cells is not None:
                loaded[name][array] = cells
    return {
        name: open_lazily(
            view,
            session,
            decoders,
            dropped=dropped,
            metadata=metadata[name],
            loaded=loaded[name],
            indexes=indexes,
        )
        for name, view in views.items()
    }


def _wanted(session: Session, names: Sequence[str] | None, limit: int | None) -> list[str]:
    limit = LIMIT if limit is None else limit
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InvalidTypeError(f"limit is the largest number of datasets in a tree, an int, not {limit!r}")
    wanted = session.view.dataset_names() if names is None else check_names("names", names)
    if len(wanted) > limit:
        raise InvalidValueError(
            f"a tree has a node for each dataset, and {len(wanted)} are more than limit={limit}: name some, "
            "store.to_datatree(names), stack those that look alike, store.to_xarray_many(names), or raise limit"
        )
    if len(set(wanted)) < len(wanted):
        twice = next(name for at, name in enumerate(wanted) if name in wanted[:at])
        raise InvalidValueError(f"names has {twice!r} twice, and a tree has one node of a name; name it once")
    return wanted


def _indexed(metadata: Mapping[str, Metadata], dropped: Collection[str]) -> dict[str, list[str]]:
    """Return the names of the arrays that are indexes, each with the datasets that it indexes."""
    owners: dict[str, list[str]] = {}
    for name, (arrays, _, _) in metadata.items():
        for array in arrays:
            if array.indexed and array.name not in dropped:
                owners.setdefault(array.name, []).append(name)
    return owners
