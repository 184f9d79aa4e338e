"""Everything a store shows, by every way of reading it: each result by a digest, each refusal by its class."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xxhash

from atlas import Atlas
from atlas.dataset import exact_attributes
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    import xarray as xr

__all__ = ["ADDED", "COPIED", "Observation", "digest", "observe", "use"]

ADDED, COPIED = "added by the campaign", "copied by the campaign"
"""Datasets that are written to mutants."""
_LAZY = 1 << 20
"""Cells that are computed of a lazy dataset at most: each chunk costs a task."""


@dataclass
class Observation:
    """What was seen of a store."""

    seen: dict[str, str] = field(default_factory=dict)
    """Digest of each result by what was asked."""
    refused: dict[str, str] = field(default_factory=dict)
    """Class of the error by what was asked."""
    torn: list[str] = field(default_factory=list)
    """What reads one way by itself and another with others."""

    def ask(self, what: str, call: Callable[[], Any]) -> Any:
        """Note what a call returns and return it, None where it is refused; any other error goes through."""
        try:
            result = call()
            self.seen[what] = digest(result)
        except AtlasError as error:
            self.refused[what] = type(error).__name__
            str(error)
            return None
        return result


def digest(value: Any) -> str:
    """Return text that tells values apart, down to types and bits."""
    return xxhash.xxh3_64_hexdigest("|".join(_told(value)).encode("utf-8", "backslashreplace"))


def _told(value: Any) -> Iterator[str]:
    if isinstance(value, np.ndarray):
        if value.dtype != object:
            data = xxhash.xxh3_64_hexdigest(np.ascontiguousarray(value))
        else:
            data = repr(value.ravel().tolist()) if value.size < _LAZY else ""
        yield f"{value.dtype}{value.shape}{data}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield repr(key)
            yield from _told(item)
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__}{len(value)}"
        for item in value:
            yield from _told(item)
    else:
        yield f"{type(value).__name__}{value!r}"


def _xarray(ds: xr.Dataset) -> list[Any]:
    cells = sum(variable.size for variable in ds.variables.values())
    blocks = sum(int(np.prod([len(c) for c in v.chunks or ()], dtype=float)) for v in ds.variables.values())
    if cells <= _LAZY and blocks <= 1000:
        with dask.config.set(scheduler="synchronous"):
            ds = ds.load()
        values = {name: variable.values for name, variable in ds.variables.items()}
    else:
        values = {name: variable.shape for name, variable in ds.variables.items()}
    return [values, {name: (v.dims, v.attrs) for name, v in ds.variables.items()}, ds.attrs, sorted(ds.coords)]


def observe(
    source: Any, names: list[str], arrays: list[str], random: Random, *, share: float, most: int = 12
) -> Observation:
    """Ask a store everything cheap, and a share of what is dear, of at most so many datasets.

    `names` and `arrays` are asked for beside those that the store lists.
    """
    found = Observation()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Duplicate dimension names")  # what xarray says of any such dataset
        try:
            store = Atlas.open(source)
        except AtlasError as error:
            found.refused["open"] = type(error).__name__
            str(error)
            return found
        _ask_all(store, found, names, arrays, random, share, most)
    return found


def _ask_all(
    store: Atlas, found: Observation, names: list[str], arrays: list[str], random: Random, share: float, most: int
) -> None:
    ask = found.ask
    names = list(dict.fromkeys([*names, *(ask("names", store.list_datasets) or [])[:100]]))
    arrays = list(dict.fromkeys([*arrays, *(ask("arrays", store.list_arrays) or [])[:100]]))

    def some() -> bool:
        return random.random() < share

    # Of fleets a sample: their datasets look alike.
    for name in names if len(names) <= most else sorted(random.sample(names, most), key=names.index):
        view = ask(f"open {name}", partial(store.open_dataset, name))
        if view is None:
            continue
        ask(f"attributes {name}", view.attributes)
        ask(f"exact {name}", partial(exact_attributes, view))
        for array in ask(f"arrays {name}", view.list_arrays) or []:
            where = f"{name}/{array}"
            meta = ask(f"meta {where}", partial(view.array_meta, array))
            ask(f"fill {where}", partial(view.array_fill_value, array))
            ask(f"stats {where}", partial(view.array_stats, array))
            if meta is None:
                continue
            whole = ask(f"read {where}", partial(view.read_array, array))
            shape = meta["shape"]
            if some() and shape and all(shape):
                corner = [length // 3 for length in shape]
                for count in ([1] * len(shape), [min(5, n - c) for n, c in zip(shape, corner, strict=True)]):
                    for again in "", " again":
                        ask(f"box {where} {count}{again}", partial(view.read_array, array, corner, count))
            del whole
        if some():
            ask(f"xarray {name}", lambda name=name: _xarray(store.to_xarray(name)))
    for array in arrays:
        if some():
            boxes = ask(f"across {array}", partial(store.read_array_across, array, names))
            for name, box in zip(names, boxes or [], strict=False):
                if found.seen.get(f"read {name}/{array}", digest(box)) != digest(box):
                    found.torn.append(f"{name}/{array}")
        if some():
            first = next((name for name in names if store.dataset_exists(name)), None)
            meta = store.open_dataset(first).array_meta(array) if first else None
            if meta and all(meta["shape"]):
                ones = [1] * len(meta["shape"])
                ask(f"box across {array}", partial(store.read_array_across, array, names, None, ones))
        if some():
            holders = [name for name in names if store.dataset_exists(name)]
            holders = [name for name in holders if store.open_dataset(name).array_meta(array)]
            ask(f"stacked {array} {holders}", partial(store.read_array_across_stacked, array, holders))
        if some() and names:
            ask(f"stats across {array}", partial(_statistics, store, array, names))
            ask(f"attributes across {array}", partial(_attributes, store, names, array))
    if some() and names:
        ask("attributes across", partial(_attributes, store, names, None))
    if some():
        ask("describe", lambda: str(store.describe().raw))
        ask("history", lambda: [version.version for version in store.history()])
        ask("verify", lambda: str(store.verify()) != "")
    if some() and names:
        ask("many", lambda: _xarray(store.to_xarray_many(names[:3])))


def _statistics(store: Atlas, array: str, names: list[str]) -> list[np.ndarray]:
    found = store.array_stats_across(array, names)
    return [found.present, found.row_count, found.null_count, found.nan_count, found.min, found.max]


def _attributes(store: Atlas, names: list[str], array: str | None) -> list[str]:
    return [f"{key} {column.values.tolist()}" for key, column in store.attributes_across(names, array=array).items()]


def use(source: Any, random: Random) -> list[str]:
    """Write to a store, flush and compact it; every refusal is fine, any other error goes through.

    Returns what reads otherwise than it was written.
    """
    written: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps: list[Callable[[Atlas], Any]] = [lambda store: _write(store, written), Atlas.compact]
        try:
            store = Atlas.open(source)
        except AtlasError:
            return []
        for step in steps if random.random() < 0.5 else steps[::-1]:
            try:
                step(store)
            except AtlasError as error:
                str(error)
        return [array for array, right in written.items() if _read_copy(source, array) not in {None, right}]


def _read_copy(source: Any, array: str) -> str | None:
    """Return the digest of an array that was copied, None where it is refused or was not committed."""
    try:
        store = Atlas.open(source)
        return digest(store.open_dataset(COPIED).read_array(array)) if store.dataset_exists(COPIED) else None
    except AtlasError as error:
        str(error)
        return None


def _write(store: Atlas, written: dict[str, str]) -> None:
    """Add a dataset with arrays of its own, and with the coordinates of another one, whose chunks it would share."""
    view = store.create_dataset(ADDED)
    arrays = store.list_arrays()
    for at, dtype in enumerate(["int16", "string", "float32"]):
        name = arrays[at] if at < len(arrays) else f"array {at}"
        view.define_array(name, dtype, ["x"], [3])
        view.write_array(
            name, [0], np.array(["a", "", "b"], object) if dtype == "string" else np.arange(3).astype(dtype)
        )
    view.set_attribute("added", True)
    _copy_coordinates(store, written)
    store.flush()


def _copy_coordinates(store: Atlas, written: dict[str, str]) -> None:
    """Write what can be read of the coordinates of the first dataset once more, as those of another.

    Adds to `written` the digest of each.
    """
    for name in store.list_datasets()[:1]:
        view, copied = store.open_dataset(name), store.create_dataset(COPIED)
        for array in view.list_arrays():
            with suppress(AtlasError):
                meta = view.array_meta(array)
                if meta["dimension_names"] != [array] or meta["shape"][0] > _LAZY:
                    continue
                cells, fill = view.read_array(array), view.array_fill_value(array)
                copied.define_array(array, meta["dtype"], [array], meta["shape"], meta["chunk_shape"], fill)
                copied.write_array(array, [0], cells)
                written[array] = digest(cells)
