"""Reads: cells out of a store, by the chunk index, with caches of decoded blocks and chunks. Never imports `write`.

- `reader`         every read of one open store
- `snapshot`       one array name as a handle shows it at one moment
- `bulk_read`      one array of many datasets, schema by schema
- `gather`         one box of arrays of one schema; `strings` the same of string arrays
- `fetch`          reads the stored bytes of the blocks that a read needs
- `allocation`     memory for results, checked against the available memory
- `single_chunk`   arrays of one small chunk, read one at a time
- `block_cache`, `chunk_cache`   decoded blocks and chunks
- `statistics`     counts and extremes from the chunk index
"""
