"""Writes: from what a caller hands over to encoded blocks that wait for a commit. Never imports `read`.

- `writer`      every change of one open store in memory
- `pending`     the cells that wait for a flush, within bounds of memory
- `coercion`    data of a caller -> cells as they are stored
- `splitting`   cells -> chunks; `bulk_write` the same for rows of many datasets
- `encoding`    chunks -> blocks and index rows
- `staging`     chunks and blocks of one array that wait; `spill` blocks on disk that wait, and `staged_source` what
                reads them
"""
