"""Many datasets as one `xr.Dataset`: stacked along a new dimension, or ragged. Never imports `atlas.store`.

- `fleet`: what the metadata of many datasets say: variables and their parts, attributes.
- `plans`: which arrays can be one variable, and what makes them one; `options` of the calls, checked.
- `part_cells`, `combining`: cells and attributes of parts as those of one variable, exactly or not at all.
- `stacked_variables`: variables along the new dimension; `stacking`: datasets that are made of them.
- `opening`: many datasets as one, lazily: `ragged` ones, or stacked. `lazy_cells` indexes their cells, `blocks` makes
  dask arrays of them, `pinned_reads` reads one version; `attribute_variables` and `encodings` do as they say.
- `assembling`: variables as a dataset, with its indexes.
- `unaligned_index`: an index for labels that differ between datasets.

As in `atlas.xarray`, each name below loads its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.late_names import late_names

if TYPE_CHECKING:
    from atlas.many.opening import open_many
    from atlas.many.options import ManyOptions, StackOptions
    from atlas.many.stacking import to_xarray_many

__all__ = ["ManyOptions", "StackOptions", "open_many", "to_xarray_many"]

_MODULES = {
    "ManyOptions": "options",
    "StackOptions": "options",
    "open_many": "opening",
    "to_xarray_many": "stacking",
}


__getattr__ = late_names(__name__, _MODULES)
