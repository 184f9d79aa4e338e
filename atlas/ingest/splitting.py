"""Splits one dataset into many: at each position of a dimension, or by the values of a variable. Knows no files.

Ragged arrays of the CF conventions (chapter 9.3) are followed: a part has the rows of its instances, whether row sizes
(`sample_dimension`) or indices (`instance_dimension`) tell them, also where rows are instances of further rows. What
lies along no dimension that is split is in every part. No cell is left out, and ends that are filled stay filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidValueError
from atlas.ingest.part_labels import Values, lies_along, list_positions, part_labels, read_values
from atlas.many.ragged import SAMPLE_KEY
from atlas.xarray.encoding_record import LAYOUT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["part_name", "split_dataset"]

_INSTANCE_KEY = "instance_dimension"
_ROLES = ("profile_id", "timeseries_id", "trajectory_id")
"""Roles of CF that name what lies along a dimension, the finest first."""


def part_name(name: str, label: str) -> str:
    """Return the name of the dataset that a part becomes; `name` is that of the whole."""
    return f"{name}.{label}"


def split_dataset(
    ds: xr.Dataset, *, along: str | None = None, by: str | None = None
) -> Iterator[tuple[str, xr.Dataset]]:
    """Check the whole dataset, and return an iterator over its parts with their labels, in order of first appearance.

    Parts keep attributes, encodings (but for what describes the chunks of the whole) and coordinates; their cells are
    views where they lie together, else copies.

    Parameters
    ----------
    ds : xr.Dataset
        The dataset; it is not changed.
    along : str, optional
        A dimension, of which each position becomes a part; the dimension goes. Where it is that of the instances of a
        ragged array, each part has their rows. The label is the value of its coordinate, else of the variable along it
        with a `cf_role`, else the position.
    by : str, optional
        A variable with one value for each position of a dimension, of which each value becomes a part and a label. The
        dimension stays, and has the positions of that value. Where it is that of the instances of a ragged array and
        all values differ, it goes as with `along`; where some are equal, all parts remain ragged arrays.

    Raises
    ------
    InvalidValueError
        (ValueError) unless one of `along` and `by` is given and fits; for values that are missing, that no dataset can
        be named by or, with `along`, that repeat; and for row sizes and indices that do not fit.

    """
    if (along is None) == (by is None):
        raise InvalidValueError(
            f"a dataset is split along a dimension or by a variable, not both or neither: along is {along!r} and by "
            f"{by!r}; give one of them"
        )
    if along is not None:
        name, dim, values = _positions(ds, along)
    else:
        name, dim, values = _values(ds, by)
    labels = part_labels(name, values.texts)
    links, numbers = _follow_rows(ds, dim, values.numbers)
    keeps_dim = along is None and (not links or len(labels) < ds.sizes[dim])
    groups = {found: _Groups.of(each, len(labels)) for found, each in numbers.items()}
    return _parts(_prepared(ds, dim, links, groups, keeps_dim=keeps_dim), labels, groups, None if keeps_dim else dim)


@dataclass(frozen=True, slots=True)
class _Link:
    """A variable that tells which rows belong to which instances."""

    name: str
    """Its name."""
    instance: str
    """The dimension of the instances."""
    sample: str
    """The dimension of the rows."""
    is_index: bool
    """Whether it has the instance of each row; else it has the number of rows of each instance."""


@dataclass(frozen=True, slots=True)
class _Groups:
    """The positions of one dimension that go to each part."""

    order: NDArray[np.int64]
    """(N,) all positions, one part after another, rising in each."""
    edges: list[int]
    """Where each part begins in `order`, and the end of the last."""

    @classmethod
    def of(cls, numbers: NDArray[np.int64], count: int) -> _Groups:
        """Group positions by `numbers` (N,), the part that each goes to, of `count`."""
        sizes = np.bincount(numbers, minlength=count)
        return cls(np.argsort(numbers, kind="stable"), [0, *np.cumsum(sizes).tolist()])

    def positions(self, part: int) -> slice | NDArray[np.int64]:
        """Return the positions of one part, as a slice where they lie together."""
        found = self.order[self.edges[part] : self.edges[part + 1]]
        if not len(found):
            return slice(0, 0)
        start, stop = int(found[0]), int(found[-1]) + 1
        return slice(start, stop) if stop - start == len(found) else found

    def ranks(self) -> NDArray[np.int64]:
        """Return (N,) where each position is within its part."""
        out = np.empty_like(self.order)
        out[self.order] = np.arange(len(self.order)) - np.repeat(self.edges[:-1], np.diff(self.edges))
        return out


def _parts(
    ds: xr.Dataset, labels: list[str], groups: Mapping[str, _Groups], gone: str | None
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the parts; the dimension `gone` has one position in each."""
    cut = {dim: found for dim, found in groups.items() if dim in ds.dims}
    # Such as times of each station; xarray makes an index of one axis when it reads a file, but not when it cuts.
    unindexed = [name for name in ds.coords if {name, gone} == set(ds.variables[name].dims) and name != gone]
    for part, label in enumerate(labels):
        keys: dict[Any, Any] = {dim: found.positions(part) for dim, found in cut.items()}
        if gone in keys:
            keys[gone] = keys[gone].start
        one = ds.isel(keys)
        for name in unindexed:
            one = one.set_xindex(str(name))
        yield label, one


def _prepared(
    ds: xr.Dataset, dim: str, links: list[_Link], groups: Mapping[str, _Groups], *, keeps_dim: bool
) -> xr.Dataset:
    """Return a dataset whose variables need only be cut: what tells rows and chunks of the whole is mended or gone."""
    gone = [] if keeps_dim else [link.name for link in links if link.instance == dim]
    ds = ds.drop_vars(gone).copy(deep=False)
    for link in links:
        if link.is_index and link.name not in gone:
            variable = ds.variables[link.name]
            index = groups[link.instance].ranks()[variable.to_numpy().astype(np.int64)]
            ds = ds.assign({link.name: variable.copy(data=index.astype(variable.dtype))})
    for variable in ds.variables.values():
        if not groups.keys().isdisjoint(variable.dims):
            variable.encoding = {key: value for key, value in variable.encoding.items() if key not in LAYOUT_KEYS}
    if "unlimited_dims" in ds.encoding:
        ds.encoding = {**ds.encoding, "unlimited_dims": set(ds.encoding["unlimited_dims"]) & set(ds.dims)}
        if not keeps_dim:
            ds.encoding["unlimited_dims"] -= {dim}
    return ds


def _positions(ds: xr.Dataset, dim: str) -> tuple[str, str, Values]:
    """Return what names the positions of a dimension, the dimension and the names, one for each position."""
    if dim not in ds.dims:
        raise InvalidValueError(f"{dim!r} is no dimension of the dataset; split along one of {list(ds.dims)}")
    length = ds.sizes[dim]
    _check_length(dim, length)
    name = _naming_variable(ds, dim)
    if name is None:
        return dim, dim, Values(np.arange(length), list(map(str, range(length))))
    values = read_values(name, ds.variables[name])
    _check_known(name, dim, values)
    if len(values.texts) < length:
        twice = int(np.flatnonzero(np.bincount(values.numbers) > 1)[0])
        raise InvalidValueError(
            f"each position of {dim!r} becomes a dataset named by {name!r}, and {values.texts[twice]!r} names the "
            f"positions {list_positions(np.flatnonzero(values.numbers == twice))}; split by={name!r} puts those into "
            "one dataset"
        )
    return name, dim, values


def _naming_variable(ds: xr.Dataset, dim: str) -> str | None:
    """Return the variable whose values name the positions of a dimension."""
    if dim in ds.variables and lies_along(ds.variables[dim], dim):
        return dim
    named = {
        str(variable.attrs.get("cf_role")): str(name)
        for name, variable in ds.variables.items()
        if lies_along(variable, dim)
    }
    return next((named[role] for role in _ROLES if role in named), None)


def _values(ds: xr.Dataset, name: Any) -> tuple[str, str, Values]:
    """Return a variable that a dataset is split by, its dimension and its values."""
    if name not in ds.variables:
        raise InvalidValueError(f"{name!r} is no variable of the dataset; split by one of {list(ds.variables)}")
    variable = ds.variables[name]
    dim = str(variable.dims[0]) if variable.dims else ""
    if not variable.dims or not lies_along(variable, dim):
        raise InvalidValueError(
            f"a dataset is split by a variable with one value for each position of one dimension, and {name!r} has the "
            f"dimensions {list(variable.dims)}; split by another, or along a dimension"
        )
    _check_length(dim, ds.sizes[dim])
    values = read_values(name, variable)
    _check_known(name, dim, values)
    return name, dim, values


def _check_length(dim: str, length: int) -> None:
    if not length:
        raise InvalidValueError(f"a dimension that is split has positions, and {dim!r} has none; add the dataset whole")


def _check_known(name: str, dim: str, values: Values) -> None:
    missing = np.flatnonzero(values.numbers < 0)
    if len(missing):
        raise InvalidValueError(
            f"each position of {dim!r} has a value of {name!r} that says which dataset it goes to, and "
            f"{len(missing)} of {len(values.numbers)} are missing, at {list_positions(missing)}; fill these in the "
            "file, take those positions out of it, or split by another variable"
        )


def _follow_rows(
    ds: xr.Dataset, dim: str, numbers: NDArray[np.int64]
) -> tuple[list[_Link], dict[str, NDArray[np.int64]]]:
    """Return what tells rows of the instances along `dim`, and the part that each position of a dimension goes to.

    `numbers` says it of `dim`. Raises `InvalidValueError` for rows of which several variables tell.
    """
    found = {dim: numbers}
    links: list[_Link] = []
    waiting = [dim]
    while waiting:
        instance = waiting.pop()
        for link in _links(ds, instance):
            if link.sample in found:
                others = [other.name for other in links if other.sample == link.sample]
                also = f"{others[0]!r} does so too" if others else f"{link.sample!r} is split itself"
                raise InvalidValueError(
                    f"one variable tells which instances the rows along {link.sample!r} belong to; {link.name!r} does, "
                    f"and {also}; leave {link.name!r} out, or mend its attributes"
                )
            cells = _whole_numbers(ds, link)
            found[link.sample] = found[instance][cells] if link.is_index else np.repeat(found[instance], cells)
            links.append(link)
            waiting.append(link.sample)
    for name, variable in ds.variables.items():
        cut = str(variable.attrs.get(SAMPLE_KEY))
        if cut in found and name not in {link.name for link in links}:
            raise InvalidValueError(
                f"{name!r} has the lengths of rows along {cut!r}, and would be wrong for parts of them; split along "
                f"{list(variable.dims)}, or by a variable along one of them"
            )
    return links, found


def _links(ds: xr.Dataset, instance: str) -> list[_Link]:
    """Return the variables that tell the rows of the instances along a dimension."""
    links = []
    for name, variable in ds.variables.items():
        if SAMPLE_KEY in variable.attrs and instance in variable.dims:
            links.append(_Link(str(name), instance, str(variable.attrs[SAMPLE_KEY]), is_index=False))
        if str(variable.attrs.get(_INSTANCE_KEY)) == instance:
            links.append(_Link(str(name), instance, str((*variable.dims, "")[0]), is_index=True))
    return links


def _whole_numbers(ds: xr.Dataset, link: _Link) -> NDArray[np.int64]:
    """Return the row sizes or indices of a link. Raises `InvalidValueError`, which names it, where they do not fit."""
    variable = ds.variables[link.name]
    if link.sample not in ds.dims or variable.ndim != 1 or variable.dtype.kind not in "iuf":
        what, key = ("instances", _INSTANCE_KEY) if link.is_index else ("lengths of rows", SAMPLE_KEY)
        raise InvalidValueError(
            f"a variable with the attribute {key!r} has whole numbers along one dimension, {what}, and "
            f"the attribute names another dimension; {link.name!r} is {variable.dtype} of {list(variable.dims)}, "
            f"{key} is {variable.attrs[key]!r} and the dataset has {list(ds.dims)}; mend it or leave it out"
        )
    cells = variable.to_numpy()
    many = ds.sizes[link.instance] if link.is_index else ds.sizes[link.sample] + 1
    # Also false for NaN, which xarray makes of a fill value.
    wrong = np.flatnonzero(~((cells >= 0) & (cells < many) & (cells == np.floor(cells))))
    if len(wrong):
        rule = f"positions of {link.instance!r}" if link.is_index else f"numbers of rows along {link.sample!r}"
        raise InvalidValueError(
            f"{link.name!r} has {rule}, which are whole and from 0 to {many - 1}; {len(wrong)} are not, the first of "
            f"them {cells[wrong[0]]} at {wrong[0]}; mend them in the file"
        )
    whole: NDArray[np.int64] = cells.astype(np.int64)
    if not link.is_index and whole.sum() != ds.sizes[link.sample]:
        raise InvalidValueError(
            f"the numbers of rows in {link.name!r} add up to the length of {link.sample!r}, {ds.sizes[link.sample]}, "
            f"and here to {whole.sum()}; mend them in the file"
        )
    return whole
