"""Benchmarks: the same work done by several engines, each in its own process and environment, with interleaved runs.

- `workloads`      the data, and the boxes that are read; `samples` extracts real data from packages
- `operations`     what is timed, in order
- `environments`   one virtual environment per peer, with pinned versions, in a cache folder
- `engines`        how each engine does each operation; one file per engine
- `worker`         one engine in one process: reads operations, answers with seconds, memory and a digest of the values
- `measuring`      starts workers, interleaves their runs, checks that the values agree
- `targets`        the targets, and whether a run met them
- `report`, `plot` rows to tables, to the page in `docs`, to a picture
- `calls`          what single calls take, and reads in many threads
- `scaling`        what grows with datasets, chunks and flushes
- `real_files`     what becomes of the NetCDF and HDF5 files of other packages; no times
- `decisions`      the measurements behind docs/decisions.md
- `__main__`       the command line
"""
