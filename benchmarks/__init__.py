"""Benchmarks: the same work by several engines, each in a process of its own, their runs interleaved.

- `workloads`   the data and the boxes that are read
- `engines`     what each engine does for each operation
- `worker`      one engine in one process: takes operations, answers with seconds and a digest of the values
- `__main__`    starts workers, interleaves their runs, checks that the values agree, prints the table
"""
