"""The output of `ls`, `show`, `info` and `history`, line by line. Reads metadata and statistics, never cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from atlas.cli.formatting import count_text, size_text, table_lines, value_text, wrapped, wrapped_under
from atlas.dataset import exact_attributes
from atlas.format.dtypes import DATATYPES
from atlas.xarray.attribute_owners import assign_attributes
from atlas.xarray.recorded_dtypes import decode_recorded, decoded_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from atlas import ArrayMeta, Atlas, DatasetView
    from atlas.format.versions import Version
    from atlas.maintenance.description import ArrayDescription, StoreDescription

__all__ = ["by_size", "history_lines", "info_lines", "ls_lines", "show_lines"]

_MAX_TEXT = 24
_MAX_ARRAYS = 8


def ls_lines(store: Atlas, names: Sequence[str], *, long: bool) -> Iterator[str]:
    """Yield the names of these datasets; with `long`, a table."""
    if not long:
        yield from names
        return
    rows = []
    for name in names:
        view = store.open_dataset(name)
        metas = [meta for array in view.list_arrays() if (meta := view.array_meta(array)) is not None]
        attributes = assign_attributes(exact_attributes(view), view.list_arrays())
        shown = len(attributes.dataset) + sum(map(len, attributes.variables.values()))
        rows.append((name, str(len(metas)), str(shown), size_text(sum(map(_raw_size, metas)))))
    yield from table_lines(("dataset", "arrays", "attributes", "size"), rows)


def _raw_size(meta: ArrayMeta) -> int:
    return int(math.prod(meta["shape"])) * DATATYPES[meta["dtype"]].itemsize


def by_size(found: StoreDescription) -> list[ArrayDescription]:
    """Return the arrays, those that take most bytes on disk first."""
    return sorted(found.arrays, key=lambda array: (-array.stored, array.name))


def info_lines(found: StoreDescription, arrays: Sequence[ArrayDescription]) -> Iterator[str]:
    """Yield a summary of the store, and a table of these of its arrays."""
    segments = sum(array.segments for array in found.arrays)
    facts = {
        "store": found.location,
        "format": f"{found.format}, metadata in {found.metadata_name}",
        "version": str(found.version),
        "codec": f"{found.codec}, filter {found.filter}",
        "datasets": f"{found.datasets:,}",
        "arrays": f"{count_text(len(found.arrays), 'name')} in {count_text(segments, 'segment')}",
        "size": f"{size_text(found.raw)} of arrays in {size_text(found.stored)} on disk"
        + _ratio(found.raw, found.stored),
    }
    for name, fact in facts.items():
        yield wrapped(f"{name:<10}", fact, 0)
    if not arrays:
        return
    yield ""
    rows = [
        (
            array.name,
            _dtypes_text(array.dtypes),
            f"{array.datasets:,}",
            f"{array.segments:,}",
            size_text(array.raw),
            size_text(array.stored),
            f"{array.raw / array.stored:.1f}" if array.stored else "-",
        )
        for array in arrays
    ]
    rows.append(("(metadata)", "", "", "", "", size_text(found.metadata), ""))
    yield from table_lines(("array", "dtype", "datasets", "files", "raw", "on disk", "ratio"), rows)


def _dtypes_text(dtypes: tuple[str, ...]) -> str:
    if len(dtypes) == 1:
        return dtypes[0].removesuffix("_nanoseconds")
    return "mixed" if dtypes else "deleted"


def _ratio(raw: int, stored: int) -> str:
    return f", ratio {raw / stored:.1f}" if raw and stored else ""


def history_lines(versions: Sequence[Version], *, all_arrays: bool) -> Iterator[str]:
    """Yield a table of these versions, with some or all names of the arrays that each wrote to."""
    widest = max(len("version"), *(len(str(version.version)) for version in versions))
    yield f"{'version':>{widest}}  {'time (UTC)':<19}  {'made by':<8}  changes"
    for version in versions:
        counts = ((version.created, "new"), (version.changed, "changed"), (version.deleted, "deleted"))
        datasets = ", ".join(f"{count:,} {what}" for count, what in counts if count)
        parts = [f"datasets: {datasets}"] if datasets else []
        arrays = list(version.arrays)
        if len(arrays) > _MAX_ARRAYS and not all_arrays:
            arrays[_MAX_ARRAYS:] = [f"… and {len(arrays) - _MAX_ARRAYS:,} more (--limit 0 shows all)"]
        parts += [f"arrays: {', '.join(arrays)}"] if arrays else []
        parts += [value_text(version.message)] if version.message is not None else []
        head = f"{version.version:>{widest}}  {version.time:%Y-%m-%d %H:%M:%S}  {version.action:<8}  "
        yield wrapped_under(head, "; ".join(parts))


def show_lines(view: DatasetView) -> Iterator[str]:
    """Yield a dataset in the style of ncdump: dimensions, variables, attributes, statistics."""
    names = view.list_arrays()
    metas = {name: meta for name in names if (meta := view.array_meta(name)) is not None}
    attributes = assign_attributes(exact_attributes(view), names)
    yield f"dataset {view.name} {{"
    lengths: dict[str, set[int]] = {}
    for meta in metas.values():
        for dim, length in zip(meta["dimension_names"], meta["shape"], strict=True):
            lengths.setdefault(dim, set()).add(length)
    yield "dimensions:"
    for dim, found in lengths.items():
        yield f"  {dim} = {', '.join(map(str, sorted(found)))}" + (
            "  // differs between arrays" if len(found) > 1 else ""
        )
    yield "variables:"
    for name, meta in metas.items():
        yield f"  {meta['dtype']} {name}({', '.join(meta['dimension_names'])})"
        yield wrapped("// ", _storage_text(view, name, meta, attributes.coords, attributes.dtypes.get(name)), 6)
        for key, value in attributes.variables[name].items():
            yield wrapped(f"{name}:{key} = ", value_text(value), 6)
    yield "attributes:"
    for key, value in attributes.dataset.items():
        yield wrapped(f":{key} = ", value_text(value), 2)
    yield "statistics:"
    rows = [_statistics_row(view, name, meta, attributes.dtypes.get(name)) for name, meta in metas.items()]
    yield from table_lines(("variable", "cells", "nulls", "min", "max"), rows, indent=2)
    yield "}"


def _storage_text(view: DatasetView, name: str, meta: ArrayMeta, coords: list[str] | None, xarray_dtype: object) -> str:
    dims, shape, chunk = meta["dimension_names"], meta["shape"], meta["chunk_shape"]
    parts = ["one chunk" if chunk == shape else f"chunks of {tuple(chunk)}"]
    fill = view.array_fill_value(name)
    if fill is not None:
        parts.append(f"fill {value_text(_decoded(name, fill, meta, xarray_dtype))}")
    if dims == [name] or name in (coords or ()):
        parts.append("coordinate")
    if decoded_dtype(xarray_dtype, meta["dtype"]) is not None:
        parts.append(f"{xarray_dtype} in xarray")
    return ", ".join(parts)


def _decoded(name: str, value: object, meta: ArrayMeta, xarray_dtype: object) -> object:
    """Return a stored cell as a user reads it: dates and durations instead of integers."""
    if value is None:
        return None
    if decoded_dtype(xarray_dtype, meta["dtype"]) is not None and isinstance(value, int):
        cells = np.array([value], np.int64).view(DATATYPES[meta["dtype"]].memory)
        return decode_recorded(name, cells, str(xarray_dtype))[0]
    memory = DATATYPES[meta["dtype"]].memory
    if memory.kind in "mM" and isinstance(value, int):
        return np.array([value]).view(memory)[0]
    return memory.type(value) if memory.kind == "f" and isinstance(value, float) else value


def _statistics_row(view: DatasetView, name: str, meta: ArrayMeta, xarray_dtype: object) -> tuple[str, ...]:
    stats = view.array_stats(name)
    if stats is None:
        return (name, f"{math.prod(meta['shape']):,}", "all", "-", "-")
    low, high = (_short(_decoded(name, stats[key], meta, xarray_dtype)) for key in ("min", "max"))
    return (name, f"{stats['row_count']:,}", f"{stats['null_count']:,}", low, high)


def _short(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, np.datetime64):
        value = value.astype("M8[s]")
    text = value_text(value)
    return text if len(text) <= _MAX_TEXT or not isinstance(value, str) else text[: _MAX_TEXT - 1] + "…"
