"""A store and its model, changed by the same calls, and what the two hold in a form that can be compared."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import xarray as xr

from atlas.catalog.chunk_index import load_segment
from atlas.commit.commit_records import named_files
from atlas.errors import ConflictError
from atlas.format.segment import SHARED
from tests.model import Model, ModelArray, ModelDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from atlas import Atlas

__all__ = ["Content", "Twin", "content", "count_shared", "differences", "modelled", "unneeded"]

Content: TypeAlias = "tuple[Any, ...]"
"""All that a store holds: names in order, attributes, declarations, values and statistics."""


def content(store: Atlas) -> Content:
    """What a store that was just opened holds, every value read."""
    found = []
    for name in store.list_datasets():
        view = store.open_dataset(name)
        arrays = []
        for array in view.list_arrays():
            cells = view.read_array(array)
            declared = (repr(view.array_meta(array)), repr(view.array_fill_value(array)))
            arrays.append((array, *declared, _values(cells), repr(view.array_stats(array))))
        found.append((name, tuple(view.attributes().items()), tuple(arrays)))
    return tuple(found), tuple(store.list_arrays())


def modelled(datasets: dict[str, ModelDataset]) -> Content:
    """What `content` answers for a store that holds the flushed `datasets`."""
    found = []
    for name, dataset in datasets.items():
        arrays = tuple(
            (key, repr(array.meta()), repr(array.fill), _values(array.cells), repr(array.stats()))
            for key, array in dataset.arrays.items()
        )
        found.append((name, tuple(dataset.attributes.items()), arrays))
    names = {key for dataset in datasets.values() for key in dataset.arrays}
    return tuple(found), tuple(sorted(names))


def differences(found: tuple[Any, ...], expected: tuple[Any, ...]) -> list[str]:
    """What is different in the datasets of two contents, in words."""
    one, two = ({entry[0]: entry for entry in entries} for entries in (found, expected))
    told = [f"{name!r} is missing" for name in two if name not in one]
    told += [f"{name!r} is there" for name in one if name not in two]
    for name in [name for name in one if name in two]:
        if one[name][1] != two[name][1]:
            told.append(f"{name!r} has attributes {one[name][1]}, not {two[name][1]}")
        arrays, others = ({array[0]: array for array in entry[name][2]} for entry in (one, two))
        if list(arrays) != list(others):
            told.append(f"{name!r} has arrays {list(arrays)}, not {list(others)}")
        for array in [array for array in arrays if array in others and arrays[array] != others[array]]:
            parts = zip(
                ("declaration", "fill", "values", "statistics"), arrays[array][1:], others[array][1:], strict=True
            )
            wrong = [f"{what} {str(a)[:200]}, not {str(b)[:200]}" for what, a, b in parts if a != b]
            told.append(f"{name!r} has in {array!r} {'; '.join(wrong)}")
    return told or ["the order of datasets"]


def _values(cells: np.ndarray | None) -> tuple[Any, ...]:
    assert cells is not None
    return str(cells.dtype), cells.shape, tuple(cells.ravel().tolist()) if cells.dtype == object else cells.tobytes()


class Twin:
    """Calls made on a model, and on a handle of the store where there is one."""

    def __init__(self, store: Atlas | None) -> None:
        self.store = store
        """The handle that the calls go to; may be exchanged for another one."""
        self.model = Model()
        """What the store shall hold."""
        self.named: dict[str, dict[str, ModelDataset]] = {}
        """What flushes that were given a message have stored, by message, as far as versions are kept."""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Hold what changes the store; the model is as it will leave it."""
        yield

    def dataset(self, name: str, **attributes: Any) -> None:
        """Create a dataset with attributes."""
        self.model.datasets[name] = ModelDataset()
        self.model.pending = True
        if self.store is not None:
            self.store.create_dataset(name)
        self.attributes(name, **attributes)

    def attributes(self, dataset: str, **attributes: Any) -> None:
        """Set attributes."""
        for key, value in attributes.items():
            self.model.datasets[dataset].attributes[key] = value
            self.model.pending = True
            if self.store is not None:
                self.store.open_dataset(dataset).set_attribute(key, value)

    def coordinate(
        self, dataset: str, array: str, cells: np.ndarray, chunk: Sequence[int] | None = None, fill: Any = None
    ) -> None:
        """Define a coordinate, whose chunks are shared with equal ones of other datasets, and write it."""
        self.array(dataset, array, cells, chunk, fill, (array,))

    def array(
        self,
        dataset: str,
        array: str,
        cells: np.ndarray,
        chunk: Sequence[int] | None = None,
        fill: Any = None,
        dims: tuple[str, ...] | None = None,
    ) -> None:
        """Define an array with the shape and dtype of `cells` and write them."""
        dtype = str(cells.dtype)
        if cells.dtype == object:
            dtype = "bytes" if any(isinstance(cell, bytes) for cell in cells.ravel().tolist()) else "string"
        dims = tuple(f"axis{axis}" for axis in range(cells.ndim)) if dims is None else dims
        chunks = cells.shape if chunk is None else tuple(chunk)
        self.model.datasets[dataset].arrays[array] = ModelArray(dtype, dims, cells.shape, chunks, fill)
        self.model.pending = True
        if self.store is not None:
            self.store.open_dataset(dataset).define_array(array, dtype, dims, cells.shape, chunks, fill)
        self.write(dataset, array, cells)

    def ragged(self, array: str, values: np.ndarray, sizes: dict[str, int], chunk: Sequence[int]) -> None:
        """Define an array of a length of its own in some datasets and write `values` to them, one after another."""
        dims, begin = tuple(f"axis{axis}" for axis in range(values.ndim)), 0
        for dataset, size in sizes.items():
            cells = values[begin : begin + size]
            begin += size
            own = ModelArray(values.dtype.name, dims, cells.shape, tuple(chunk), None)
            own.write((0,) * cells.ndim, cells)
            self.model.datasets[dataset].arrays[array] = own
        self.model.pending = True
        if self.store is not None:
            self.store.write_array_across_ragged(array, list(sizes), values, list(sizes.values()), dims, chunk)

    def write(self, dataset: str, array: str, cells: np.ndarray, start: Sequence[int] | None = None) -> None:
        """Write a box of an array."""
        at = (0,) * cells.ndim if start is None else tuple(start)
        self.model.datasets[dataset].arrays[array].write(at, cells)
        self.model.pending = True
        if self.store is not None:
            self.store.open_dataset(dataset).write_array(array, at, cells)

    def drop_array(self, dataset: str, array: str) -> None:
        """Delete an array."""
        del self.model.datasets[dataset].arrays[array]
        self.model.pending = True
        if self.store is not None:
            self.store.open_dataset(dataset).delete_array(array)

    def drop(self, dataset: str) -> None:
        """Delete a dataset."""
        del self.model.datasets[dataset]
        self.model.pending = True
        if self.store is not None:
            self.store.delete_dataset(dataset)

    def replace(self, dataset: str, **arrays: np.ndarray) -> None:
        """Put a dataset of other arrays in the place of one."""
        model = self.model.datasets[dataset] = ModelDataset(attributes={"_pyatlas_coords": "[]"})
        for array, cells in arrays.items():
            dims = tuple(f"{array}{axis}" for axis in range(cells.ndim))
            model.arrays[array] = ModelArray(str(cells.dtype), dims, cells.shape, cells.shape, None)
            model.arrays[array].write((0,) * cells.ndim, cells)
        self.model.pending = True
        if self.store is not None:
            ds = xr.Dataset({array: (own.dims, arrays[array]) for array, own in model.arrays.items()})
            self.store.replace_dataset(dataset, ds)

    def flush(self, message: str | None = None) -> None:
        """Commit."""
        before = None if message is None else self.flushed()
        self.model.flush()
        # What was done and undone is no version.
        if message is not None and before != self.flushed():
            self.named = {**self.named, message: self.model.flushed}
        with self.step("flush"):
            if self.store is not None:
                _repeat_if_undecided(self.store, lambda store: store.flush(message))

    def compact(self, **options: Any) -> None:
        """Commit and reclaim."""
        self.model.flush()
        if options.get("keep_days") == 0:
            self.named = {}
        with self.step("compact"):
            if self.store is not None:
                _repeat_if_undecided(self.store, lambda store: store.compact(**options))

    def go_back(self, message: str) -> None:
        """Roll back to what the flush with a message has stored."""
        self.become(self.named[message])
        with self.step("rollback"):
            if self.store is not None:
                versions = [version.version for version in self.store.history() if version.message == message]
                self.store.rollback(versions[-1])

    def refresh(self) -> None:
        """Move on to what others have committed."""
        if self.store is not None:
            self.store.refresh()

    def flushed(self) -> Content:
        """What the store held after its last commit."""
        return modelled(self.model.flushed)

    def become(self, datasets: dict[str, ModelDataset]) -> None:
        """Have the model hold other datasets, flushed."""
        self.model.datasets = copy.deepcopy(datasets)
        self.model.flush()


def unneeded(store: Atlas, place: Path) -> list[str]:
    """The files at a compacted store's place to which nothing that it holds refers."""
    journal, catalog = store._session.log, store._session.catalog
    needed = {*named_files(catalog), journal.base.key, journal.config.encoding.checkpoint}
    # Commits from the oldest version on that is kept, and the links that lead there.
    oldest = f"commits/{journal.base.version:020d}"
    files = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    left = [key for key in files if key not in needed and not (key.startswith("commits/") and key >= oldest)]
    left = [key for key in left if not (key.startswith("packs/") and key >= oldest.replace("commits", "packs"))]
    return sorted(key for key in left if not key.startswith("bases/"))


def count_shared(store: Atlas, array: str) -> tuple[int, int]:
    """Return how many chunks of `array` lie where another one of their segment does, and how many in another segment.

    Those that the version does not need count too.
    """
    view = store._session.view
    beside = elsewhere = 0
    for ref in view.catalog.segments.get(array, []):
        rows = load_segment(view.storage, ref)[1]
        own = [place for place in zip(rows.block.tolist(), rows.offset.tolist(), strict=True) if place[0] >= 0]
        beside += len(own) - len(set(own))
        elsewhere += int((rows.block == SHARED).sum())
    return beside, elsewhere


def _repeat_if_undecided(store: Atlas, commit: Callable[[Atlas], object]) -> None:
    """Commit, and once more after a refresh where a compaction has removed what would tell whether there is a conflict.

    Any other conflict is a failure, and so is one after the refresh.
    """
    try:
        commit(store)
    except ConflictError as error:
        if "is no longer known" not in str(error):
            raise
        store.refresh()
        commit(store)
