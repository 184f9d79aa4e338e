"""Files of others become datasets of the store, one for each. Never imports `atlas.store`.

- `sources`: which files; what of the folders is passed over.
- `datasets`: sources that are xarray datasets, one at a time.
- `options` of `Atlas.add_many`, checked; `report`: what became of each source, `report_file`: the same in a file.
- `adding`: adds what was read and commits as it goes; `commits`: when.
- `large_variables`: dask arrays of which workers read one block at a time.
- `reading_ahead`: reads files while earlier ones are added. `workers`: processes that read, and may crash; `worker` is
  what runs in them, `answers` how it answers.
- `reading` reads one file: `open_files` says what it needs of one, `plain_netcdf`, `netcdf_file` and `engines` open
  it, `groups` makes its groups part of it, `decoding` decodes it. `classic_netcdf` finds files that were cut short, and
  `hidden_contents` what netCDF4 does not show.
- `provenance`: the file that a dataset came from, and whether it has changed since.
- `splitting`: one dataset becomes many; `part_labels`: what names them.
- `progress`: a bar, or lines.

As in `atlas.xarray`, each name below loads its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.late_names import late_names

if TYPE_CHECKING:
    from atlas.ingest.adding import add_sources
    from atlas.ingest.options import IngestOptions
    from atlas.ingest.progress import Progress
    from atlas.ingest.report import IngestInterruptedError, IngestReport, SourceResult
    from atlas.ingest.report_file import check_report_file
    from atlas.ingest.sources import SUFFIXES, Search, check_netcdf, check_zarr, find_files

__all__ = [
    "SUFFIXES",
    "IngestInterruptedError",
    "IngestOptions",
    "IngestReport",
    "Progress",
    "Search",
    "SourceResult",
    "add_sources",
    "check_netcdf",
    "check_report_file",
    "check_zarr",
    "find_files",
]

_MODULES = {
    "SUFFIXES": "sources",
    "IngestInterruptedError": "report",
    "IngestOptions": "options",
    "IngestReport": "report",
    "Progress": "progress",
    "Search": "sources",
    "SourceResult": "report",
    "add_sources": "adding",
    "check_netcdf": "sources",
    "check_report_file": "report_file",
    "check_zarr": "sources",
    "find_files": "sources",
}


__getattr__ = late_names(__name__, _MODULES)
