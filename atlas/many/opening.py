"""Many datasets opened as one `xr.Dataset`: lazily indexed arrays, or dask arrays of one layer each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from atlas.errors import InvalidValueError
from atlas.format.names import check_names
from atlas.many.assembling import assemble
from atlas.many.attribute_variables import attribute_variables
from atlas.many.blocks import Blocks
from atlas.many.fleet import Fleet
from atlas.many.lazy_cells import StackedCells
from atlas.many.pinned_reads import PinnedReads
from atlas.many.ragged import open_ragged
from atlas.many.stacked_variables import StackedVariables

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from atlas.many.blocks import Chunks
    from atlas.many.options import ManyOptions
    from atlas.session import Session
    from atlas.xarray.interfaces import StoreInterface

__all__ = ["open_many"]


def open_many(
    store: StoreInterface, session: Session, names: Iterable[str] | None, options: ManyOptions, chunks: Chunks
) -> xr.Dataset:
    """Many datasets as one, lazily. See `Atlas.open_many`."""
    blocks = Blocks(chunks, options.new_dim)
    while True:
        version = session.catalog.version
        if session.pending:
            raise InvalidValueError(
                "unflushed changes have no version yet and cannot be read lazily: call flush() before open_many()"
            )
        labels = session.view.dataset_names() if names is None else check_names("names", names)
        if not labels:
            raise InvalidValueError("names is empty; open_many needs at least one dataset name")
        opened = _open(store, session, labels, options, PinnedReads(session, version), blocks)
        if session.catalog.version == version and not session.pending:
            blocks.check_dims(opened)
            return opened


def _open(
    store: StoreInterface, session: Session, labels: list[str], options: ManyOptions, reads: PinnedReads, blocks: Blocks
) -> xr.Dataset:
    fleet = Fleet(session, labels)
    fleet.check_new("dim" if options.combine == "stack" else "dimension", options.new_dim)
    stacked = StackedVariables(store, session, labels, options.stack)
    open_as = open_ragged if options.combine == "ragged" else _open_stacked
    return attribute_variables(open_as(fleet, stacked, reads, options, blocks), fleet, session, options)


def _open_stacked(
    fleet: Fleet, stacked: StackedVariables, reads: PinnedReads, options: ManyOptions, blocks: Blocks
) -> xr.Dataset:
    """Return the datasets of a fleet stacked; coordinates are in memory."""
    plans = fleet.plans(options.variables, options.missing)
    variables = {}
    for plan in plans:
        if plan.first.coordinate:
            variables[plan.name] = stacked.read(plan)
            continue
        dims = (options.new_dim, *plan.dims)
        shape = (len(fleet.labels), *plan.first.shape)
        cells_of = partial(StackedCells, reads, fleet.labels, plan, shape)
        variables[plan.name] = blocks.variable(fleet, plan, dims, options.combine_attrs, cells_of)
    return assemble(variables, plans, fleet, options.new_dim, fleet.attributes(options.combine_attrs))
