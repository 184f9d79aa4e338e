"""What a store holds, in memory: datasets, schemas and attributes in columns, and the index of chunks.

- `catalog`         the committed datasets, in columns. `layout_table` and `attribute_set_column` hold what they share,
                    `append_column` is a column that grows, `column_builder` makes the columns of a document
- `paged_rows`      which rows lie in pages; `paging` decides when rows move to a page
- `datasets`        the committed datasets, with what a handle created, changed and deleted since: `dataset_state` is
                    one of them, `declarations` the arrays that were declared
- `view`            what an open store shows: all of this, under one lock
- `selection`       the datasets that a read names
- `attribute_values` the values of each attribute over many datasets, as columns
- `schema_cache`    schemas of declarations that were checked before
- `id_shift`        ids that a commit raised
- `sorted_search`   where values lie in a sorted column
- `chunk_index`     where each chunk of an array lies, over all segments

Only `chunk_index` reads, the indexes of segments through a storage. Nothing here writes.
"""
