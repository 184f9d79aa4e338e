"""Reads: plans run against the chunk index, and caches of what was decoded. Never imports `write`.

- `reader`         every read of one open store
- `snapshot`       one array name as a handle shows it at one moment
- `bulk_read`      one array of many datasets, schema by schema
- `gather`         one box of arrays of one schema; `strings` the same of string arrays
- `fetch`          the stored bytes that a plan needs
- `allocation`     memory for results
- `single_chunk`   arrays of one small chunk, read one at a time
- `block_cache`, `chunk_cache`   decoded blocks and chunks
- `statistics`     counts and extremes from the chunk index
"""
