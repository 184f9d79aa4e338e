"""Benchmarks: the same work by several engines, each in a process and an environment of its own, runs interleaved.

- `workloads`      the data and the boxes that are read; `samples` extracts the real ones
- `operations`     what is timed, in the order in which it is
- `environments`   one virtual environment a peer, of pinned versions, in a cache folder
- `engines`        what each engine does for each operation, a file an engine
- `worker`         one engine in one process: takes operations, answers with seconds, memory and a digest of the values
- `measuring`      starts workers, interleaves their runs, checks that the values agree
- `report`, `plot` rows to tables, to the page in `docs`, to a picture
- `__main__`       the command line
"""
