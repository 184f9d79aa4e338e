"""The command line: `atlas create`, `ls`, `show`, `info`, `rm`, `demo`.

- `app`: the commands, their options and how errors are shown.
- `ingest`: a folder of NetCDF files into a store.
- `listing`: what is printed of stores and datasets.
- `layout`: tables, sizes and values as text.
- `demo`: real files, end to end.

Prints results to stdout, everything else to stderr. Uses the store as any program would.
"""

from __future__ import annotations

from atlas.cli.app import main

__all__ = ["main"]
