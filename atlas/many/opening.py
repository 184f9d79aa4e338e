"""Many datasets opened as one `xr.Dataset`: lazily indexed arrays, or dask arrays of one layer each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from atlas.errors import InvalidValueError
from atlas.many.attribute_variables import attribute_variables
from atlas.many.blocks import Blocks
from atlas.many.bulk_reads import PinnedReads
from atlas.many.concatenated import open_concatenated
from atlas.many.fleet import Fleet
from atlas.many.lazy_cells import StackedCells
from atlas.many.padded import assemble_stack
from atlas.many.ragged import open_ragged
from atlas.many.stacked_variables import StackedVariables

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from atlas.many.blocks import Chunks
    from atlas.many.options import ManyOptions
    from atlas.session import Session

__all__ = ["open_many"]


def open_many(session: Session, names: Iterable[str] | None, options: ManyOptions, chunks: Chunks) -> xr.Dataset:
    """Many datasets as one, lazily. See `Atlas.open_many`."""
    while True:
        version = session.catalog.version
        if session.pending:
            raise InvalidValueError(
                "unflushed changes have no version yet and cannot be read lazily: call flush() before open_many()"
            )
        labels = session.view.chosen_names(names)
        opened = _open(session, labels, options, PinnedReads(session, version), chunks)
        if session.catalog.version == version and not session.pending:
            return opened


def _open(session: Session, labels: list[str], options: ManyOptions, reads: PinnedReads, chunks: Chunks) -> xr.Dataset:
    blocks = Blocks(chunks, options.new_dim, reads.token)
    fleet = Fleet(session, labels)
    fleet.check_known((dim for dim in options.isel or {}), "isel")
    if options.combine == "concat":
        ds = open_concatenated(fleet, reads, options, blocks)
    else:
        fleet.check_new("dim" if options.combine == "stack" else "dimension", options.new_dim)
        open_as = open_ragged if options.combine == "ragged" else _open_stacked
        ds = open_as(fleet, StackedVariables(reads, labels, options.stack), reads, options, blocks)
        ds = attribute_variables(ds, fleet, session, options)
    blocks.check_dims(ds)
    return ds


def _open_stacked(
    fleet: Fleet, stacked: StackedVariables, reads: PinnedReads, options: ManyOptions, blocks: Blocks
) -> xr.Dataset:
    """Return the datasets of a fleet stacked; coordinates are in memory."""
    uneven = fleet.lengths(None) if options.missing == "fill" else ()
    plans = fleet.plans(
        options.variables, options.missing, uneven=uneven, isel=options.isel, filled=fleet.scalars(options.attributes)
    )
    variables = {}
    for plan in plans:
        if plan.first.coordinate:
            variables[plan.name] = stacked.read(plan)
            continue
        dims = (options.new_dim, *plan.dims)
        shape = (len(fleet.labels), *plan.shape)
        cells_of = partial(StackedCells, reads, fleet.labels, plan, shape)
        filled = plan.is_padded or not fleet.has_all(plan)
        variables[plan.name] = blocks.variable(plan, dims, options.combine_attrs, cells_of, filled=filled)
    return assemble_stack(variables, plans, fleet, options.stack)
