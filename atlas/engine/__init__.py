"""Runs plans: sequences storage and kernels, holds what is pending, commits versions.

- `state`       one open store; `readable` adds every read of it, `writable` every change in memory, `session` the
  moves from version to version
- `datasets`    the committed catalog with what changed since; `catalog` the committed columns;
  `rosters` the datasets a read names; `growing` columns that only ever get longer
- `chronicle`   documents as they are read, `journal` as they are written; `documents` one of them;
  `creation` a new store; `history` what the commits tell
- `committing`  makes a version; `rebasing` puts what is pending on top of others', `merging` cells of chunks that both
  have written; `retention` which files stay
- `incoming`, `cutting`, `stacking`, `encoding`, `staging`, `spill`   the way of written data to blocks
- `across`, `tables`, `fetching`, `reading`, `results`, `text`, `statistics`   the way of blocks to results
- `lone`, `repeats`, `cache`                             arrays read one at a time, and again
- `compaction`  live data of many segments into one
- `verifying`   reads everything, and tells what is damaged
- `threads`     the library's own threads; `locks` locks that survive a fork
"""
