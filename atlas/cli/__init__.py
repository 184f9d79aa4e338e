"""The command line of stores and kernels.

`atlas create`, `ls`, `show`, `info`, `rm`, `history`, `rollback`, `compact`, `verify`, `demo`, `warmup`.

- `app`: the commands, their options, and how errors are shown.
- `ingest`: adds a folder of NetCDF files to a store.
- `store_output`: what `ls`, `show`, `info` and `history` print.
- `maintenance_output`: what `rm` and `compact` say of versions and of space.
- `verify_output`: what `verify` prints.
- `formatting`: values, sizes and tables as text.
- `demo`: builds and reads a store of real files.
- `warmup`: compiles all kernels.

Prints results to stdout and everything else to stderr. Uses stores only through `Atlas`, `DatasetView` and `verify`.
"""

from __future__ import annotations

from atlas.cli.app import main

__all__ = ["main"]
