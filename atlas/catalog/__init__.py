"""What a store holds, in memory: datasets, schemas and attributes in columns, and the index of chunks.

- `catalog`         the committed datasets, in columns: `append_column` grows one, `column_builder` makes them of rows
- `datasets`        the committed datasets with what a handle created, changed and deleted since
- `view`            what an open store shows: all of this, under one lock
- `selection`       the datasets that a read names
- `chunk_index`     where each chunk of an array lies, over all segments
- `id_shift`        ids that a commit raised
- `paging`          when rows move to a page

Reads the indexes of segments through a storage; never writes.
"""
