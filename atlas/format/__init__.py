"""Bytes to values and back, as docs/format.md says. No I/O, no kernels.

- `documents`         checksum, encoding and compression of every metadata document
- `changes`           the body of commits and checkpoints; pages. `commit_header`, `bases`, `versions`, `config`: their
                      other fields
- `dataset_columns`   rows of datasets within documents, in columns
- `segment`           segments; `index_columns` the columns of their index, `block_types` codecs and filters
- `schema`, `dtypes`, `names`                                      what users declare
- `attributes`, `attribute_codec`, `strings`                       attribute values and string cells

Everything read is checked: what is damaged or forged raises `CorruptStoreError`.
"""
