"""Reads: cells out of a store, by the chunk index, with a cache of decoded blocks. Never imports `write`.

- `reader`         every read of one open store
- `snapshot`       one array name as a handle shows it at one moment
- `bulk_read`      one array of many datasets, schema by schema
- `gather`         one box of arrays of one schema: `numbers` and `strings` read their chunks
- `fetch`          reads the stored bytes of the blocks that a read needs
- `allocation`     memory for results, checked against the available memory
- `single_chunk`   arrays of one small chunk, read one at a time; `cached_chunks` boxes of larger ones
- `block_cache`    the decoded blocks that a handle keeps; `cache_pool` the memory that handles share for them
- `statistics`     counts and extremes from the chunk index; `statistics_columns` those of many datasets as columns,
                   `array_runs` which rows of the index are of one array, `text_extremes` the extremes of strings
"""
