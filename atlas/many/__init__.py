"""Many datasets as one `xr.Dataset`: stacked, concatenated or ragged. Never imports `atlas.store`.

- `fleet`: what the metadata of many datasets say: variables and their parts, attributes.
- `plans`: which arrays can be one variable, and what makes them one; `windows`: what is taken of each dataset;
  `options` of the calls, checked.
- `part_cells`, `combining`: cells and attributes of parts as those of one variable, exactly or not at all.
- `lazy_cells` indexes the cells of many datasets, `blocks` makes dask arrays of them, `bulk_reads` reads what a handle
  or one version shows.
- `stacked_variables`: variables in memory along the new dimension, or once where all are equal; `stacking`: datasets
  that are made of them; `padded`: stacks as a dataset, with the lengths of what is filled.
- `rows`: what lies along one dimension, one dataset after another; `ragged` and `concatenated` datasets that are made
  of it; `sequence`: the order of labels, overlaps and gaps.
- `row_shapes`: ragged datasets to padded ones and back, and to one dataset; `accessor`: `xr.Dataset.atlas`.
- `opening`: many datasets as one, lazily, in one of these shapes.
- `assembling`: variables as a dataset, with its indexes; `encodings` and `attribute_variables` do as they say.
- `unaligned_index`: an index for labels that differ between datasets.

As in `atlas.xarray`, each name below loads its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.late_names import late_names

if TYPE_CHECKING:
    from atlas.many.opening import open_many
    from atlas.many.options import ManyOptions, StackOptions
    from atlas.many.row_shapes import select_row, to_padded, to_ragged
    from atlas.many.stacking import to_xarray_many

__all__ = [
    "ManyOptions",
    "StackOptions",
    "open_many",
    "select_row",
    "to_padded",
    "to_ragged",
    "to_xarray_many",
]

_MODULES = {
    "ManyOptions": "options",
    "StackOptions": "options",
    "open_many": "opening",
    "select_row": "row_shapes",
    "to_padded": "row_shapes",
    "to_ragged": "row_shapes",
    "to_xarray_many": "stacking",
}


__getattr__ = late_names(__name__, _MODULES)
