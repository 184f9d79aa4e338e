"""Bytes to values and back: names, dtypes, schemas, attributes, segments, documents. No I/O, no kernels."""
