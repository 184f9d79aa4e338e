"""Runs plans: sequences storage and kernels, holds what is pending, commits versions.

- `state`       one open store; `readable` adds every read of it, `session` every change
- `datasets`    the committed catalog with what changed since; `catalog` the committed columns;
  `rosters` the datasets a read names; `growing` columns that only ever get longer
- `journal`     documents on storage: commits, checkpoint, pages; `committing` makes a version
- `incoming`, `cutting`, `encoding`, `staging`, `spill`   the way of written data to blocks
- `across`, `tables`, `fetching`, `reading`, `text`, `statistics`   the way of blocks to results
- `lone`, `repeats`, `cache`                             arrays read one at a time, and again
- `compaction`  live data of many segments into one
- `threads`     the library's own threads; `locks` locks that survive a fork
"""
