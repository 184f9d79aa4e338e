"""The engine of xarray, `xr.open_dataset(..., engine="atlas")`, but for opening the store itself.

xarray imports every installed engine as soon as it looks for one. So this imports xarray alone, and the first call that
opens a dataset imports the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

import atlas.xarray
from atlas.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from atlas.session import Session
    from atlas.xarray.interfaces import StoreInterface

__all__ = ["OpenStore", "StoreEntrypoint"]

_DECODERS = ("mask_and_scale", "decode_times", "decode_timedelta", "use_cftime", "concat_characters", "decode_coords")
_OF_MANY = (
    "names",
    "combine",
    "dim",
    "variables",
    "isel",
    "attributes",
    "missing",
    "join",
    "combine_attrs",
    "sort",
    "feature_type",
)
"""Arguments of `Atlas.open_many`, which open several datasets as one."""
_XARRAY_MAKES_INDEXES = "create_default_indexes" in signature(xr.open_dataset).parameters
"""Whether this version of xarray makes indexes of what an engine opens; in earlier ones the engine does."""
_NAMED = 3
"""Datasets that an error names."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that datasets are opened from."""

    store: StoreInterface
    """The open store."""
    session: Session
    """Its session."""
    close: Callable[[], None] | None
    """Closes what was opened for the caller; None where the caller opened it."""


class StoreEntrypoint(BackendEntrypoint, ABC):
    """Opens datasets of a store, but for the store itself.

    Decoders are those of `xarray.open_dataset`, declared one by one as it asks for. `concat_characters` is False unless
    given: arrays of single bytes in a store were such arrays in xarray, and files are ingested with characters joined.
    """

    description: ClassVar[str] = "Open datasets of an atlas store, lazily and without dask"
    url: ClassVar[str] = "https://github.com/atlas-store/atlas/blob/main/docs/xarray.md"
    supports_groups: ClassVar[bool] = True
    # xarray fills this in for an engine that is named, not for one that is given as a class.
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj",
        *_DECODERS,
        "drop_variables",
        "group",
        "version",
        *_OF_MANY,
    )

    @abstractmethod
    def open_store(self, source: Any, version: int | None) -> OpenStore:
        """Open the store at `source`, a location or an open store."""

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        decode_timedelta: Any = None,
        use_cftime: Any = None,
        concat_characters: Any = False,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        version: int | None = None,
        names: Any = None,
        combine: Any = None,
        dim: Any = None,
        variables: Any = None,
        isel: Any = None,
        attributes: Any = None,
        missing: Any = None,
        join: Any = None,
        combine_attrs: Any = None,
        sort: Any = None,
        feature_type: Any = None,
    ) -> xr.Dataset:
        """Open one dataset, the one that `group` names or the only one of the store; or many as one.

        `filename_or_obj` is what `Atlas.open` takes, or an open `Atlas`; `version` is an earlier version. The arguments
        from `names` on are those of `Atlas.open_many`; with `names` or `combine` many datasets are opened, all of the
        store without `names`.

        Raises `DatasetNotFoundError` (KeyError), and `InvalidValueError` (ValueError) without a `group` where the store
        has several datasets or none, and for arguments that do not go together; for many, what `Atlas.open_many`
        raises.
        """
        settings = (mask_and_scale, decode_times, decode_timedelta, use_cftime, concat_characters, decode_coords)
        decoders, dropped = dict(zip(_DECODERS, settings, strict=True)), _names(drop_variables)
        values = (names, combine, dim, variables, isel, attributes, missing, join, combine_attrs, sort, feature_type)
        options = {name: value for name, value in zip(_OF_MANY, values, strict=True) if value is not None}
        _check_many(options, group)
        with self._opened(filename_or_obj, version) as opened:
            if options:
                return _open_many(opened, options, decoders, dropped)
            name = _dataset_of(group) or _only_dataset(opened)
            return _open_one(opened, name, decoders, dropped)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        decode_timedelta: Any = None,
        use_cftime: Any = None,
        concat_characters: Any = False,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> dict[str, xr.Dataset]:
        """Open every dataset: the empty root as "/", and each dataset as its name after a slash.

        With `group`, that dataset alone, as the root. Raises `InvalidValueError` (ValueError) for more datasets than
        `limit`, by default `trees.LIMIT`.
        """
        settings = (mask_and_scale, decode_times, decode_timedelta, use_cftime, concat_characters, decode_coords)
        decoders, dropped = dict(zip(_DECODERS, settings, strict=True)), _names(drop_variables)
        with self._opened(filename_or_obj, version) as opened:
            name = _dataset_of(group)
            if name is not None:
                return {"/": _open_one(opened, name, decoders, dropped)}
            each = atlas.xarray.open_each(
                opened.store,
                opened.session,
                None,
                decoders,
                dropped=dropped,
                limit=limit,
                indexes=not _XARRAY_MAKES_INDEXES,
            )
            return {"/": _from(opened, xr.Dataset())} | {f"/{name}": _from(opened, ds) for name, ds in each.items()}

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        decode_timedelta: Any = None,
        use_cftime: Any = None,
        concat_characters: Any = False,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> xr.DataTree:
        """Open every dataset as a child of an empty root; see `open_groups_as_dict`."""
        groups = self.open_groups_as_dict(
            filename_or_obj,
            mask_and_scale=mask_and_scale,
            decode_times=decode_times,
            decode_timedelta=decode_timedelta,
            use_cftime=use_cftime,
            concat_characters=concat_characters,
            decode_coords=decode_coords,
            drop_variables=drop_variables,
            group=group,
            version=version,
            limit=limit,
        )
        tree = xr.DataTree.from_dict(groups)
        tree.set_close(groups["/"].close)
        return tree

    @contextmanager
    def _opened(self, source: Any, version: int | None) -> Iterator[OpenStore]:
        """Open the store, and close it where what is done with it fails."""
        opened = self.open_store(source, version)
        try:
            yield opened
        except BaseException:
            if opened.close is not None:
                opened.close()
            raise


def _open_one(opened: OpenStore, name: str, decoders: dict[str, Any], dropped: list[str]) -> xr.Dataset:
    view = opened.store.open_dataset(name)
    ds = atlas.xarray.open_lazily(view, opened.session, decoders, dropped=dropped, indexes=not _XARRAY_MAKES_INDEXES)
    return _from(opened, ds)


def _check_many(options: Mapping[str, Any], group: object) -> None:
    """Raise `InvalidValueError` where arguments do not go together."""
    if options and group is not None:
        raise InvalidValueError(
            f"group={group!r} opens one dataset, and {next(iter(options))}= is of those that open many; leave one out"
        )
    if options and "names" not in options and "combine" not in options:
        raise InvalidValueError(
            f"{next(iter(options))}= is of the arguments that open many datasets as one; say how, combine='stack', "
            "'concat' or 'ragged', or which, names=[...]"
        )


def _open_many(
    opened: OpenStore, options: dict[str, Any], decoders: Mapping[str, Any], dropped: Collection[str]
) -> xr.Dataset:
    names = opened.session.view.chosen_names(options.pop("names", None))
    if dropped and "variables" not in options:
        layouts = opened.session.view.layouts(names)
        options["variables"] = list(dict.fromkeys(name for layout in layouts for name in layout if name not in dropped))
    ds = atlas.xarray.decode_dataset(
        opened.store.open_many(names, **options).drop_vars(dropped, errors="ignore"), decoders
    )
    return _from(opened, ds)


def _from(opened: OpenStore, ds: xr.Dataset) -> xr.Dataset:
    """Say where a dataset was opened, as xarray does, and what closes it."""
    ds.encoding["source"] = opened.session.view.storage.describe
    ds.set_close(opened.close)
    return ds


def _dataset_of(group: object) -> str | None:
    """Return the name of a dataset as a group, None for the root."""
    if group is None:
        return None
    if not isinstance(group, str):
        raise InvalidTypeError(f"group is the name of a dataset, a str, not {type(group).__name__} {group!r}")
    return group.strip("/") or None


def _only_dataset(opened: OpenStore) -> str:
    names = opened.session.view.dataset_names()
    if len(names) == 1:
        return names[0]
    where = f"the store at {opened.session.view.storage.describe}"
    if not names:
        raise InvalidValueError(f"{where} holds no dataset; add one with add_xr_dataset and flush it")
    listed = ", ".join(map(repr, names[:_NAMED])) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")
    raise InvalidValueError(
        f"{where} holds {len(names)} datasets, {listed}, and open_dataset opens one: name it, group={names[0]!r}, or "
        "open all with xarray.open_datatree"
    )


def _names(names: str | Iterable[str] | None) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)
