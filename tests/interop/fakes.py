"""The least store that the xarray layer can live on: dicts and NumPy arrays, with a record of the calls made."""

from __future__ import annotations

import numpy as np

from atlas.errors import ArrayExistsError, ArrayNotFoundError, DatasetExistsError, DatasetNotFoundError
from atlas.format.attributes import coerce_attribute, flatten_key, plain_value, recover_text
from atlas.format.schema import make_schema
from atlas.interop import add, to_xarray, to_xarray_many


def as_text(cell):
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else recover_text(str(cell))


class FakeView:
    def __init__(self, name):
        self.name = name
        self.schemas = {}
        self.cells = {}
        self.attrs = {}
        self.calls = []

    def list_arrays(self):
        return list(self.schemas)

    def define_array(self, name, dtype, dims, shape, chunk_shape=None, fill_value=None):
        if name in self.schemas:
            raise ArrayExistsError(name)
        schema = make_schema(dtype, dims, shape, chunk_shape, fill_value)
        empty = "" if schema.datatype.kind == "string" else 0
        self.schemas[name] = schema
        self.cells[name] = np.full(shape, empty if schema.fill is None else schema.fill, schema.memory_dtype)

    def write_array(self, name, start, data):
        self.calls.append(("write", name, start, data.shape))
        box = tuple(slice(s, s + n) for s, n in zip(start, data.shape, strict=True))
        target = self.cells[name]
        if target.dtype == object:
            target[box] = np.vectorize(as_text, [object])(data) if data.size else data
        else:
            assert data.dtype.kind == target.dtype.kind
            target[box] = data

    def read_array(self, name, start=None, shape=None):
        self.calls.append(("read", name, start, shape))
        if name not in self.cells:
            return None
        cells = self.cells[name]
        start = [0] * cells.ndim if start is None else start
        shape = [n - s for s, n in zip(start, cells.shape, strict=True)] if shape is None else shape
        return np.array(cells[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))])

    def delete_array(self, name):
        del self.schemas[name], self.cells[name]

    def array_meta(self, array):
        schema = self.schemas.get(array)
        if schema is None:
            return None
        return {
            "dtype": schema.datatype.name,
            "shape": list(schema.shape),
            "chunk_shape": list(schema.chunk_shape),
            "dimension_names": list(schema.dims),
        }

    def array_fill_value(self, array):
        return self.schemas[array].fill

    def exact_attributes(self):
        return dict(self.attrs)

    def set_exact_attribute(self, key, value):
        self.attrs[key] = value

    def set_attribute(self, key, value, dtype=None):
        self.attrs[key] = coerce_attribute(value, dtype)

    def attributes(self):
        return {flatten_key(key): plain_value(value) for key, value in self.attrs.items()}

    def token(self, array):
        return f"fake:{self.name}:{array}:{self.schemas[array].key}"


class FakeStore:
    def __init__(self):
        self.views = {}

    def create_dataset(self, name):
        if name in self.views:
            raise DatasetExistsError(name)
        self.views[name] = FakeView(name)
        return self.views[name]

    def open_dataset(self, name):
        if name not in self.views:
            raise DatasetNotFoundError(name)
        return self.views[name]

    def discard_dataset(self, name):
        del self.views[name]

    def list_datasets(self):
        return list(self.views)

    def read_array_across_stacked(self, array, dataset_names, start=None, shape=None):
        cells = [self.open_dataset(name).read_array(array, start, shape) for name in dataset_names]
        if any(piece is None for piece in cells):
            raise ArrayNotFoundError(array)
        return np.stack(cells)

    def add_xr_dataset(self, ds, name, chunks=None):
        add(self, ds, name, chunks)

    def to_xarray(self, name):
        return to_xarray(self.open_dataset(name))

    def to_xarray_many(self, names, concat_dim="dataset", parallel=True):
        return to_xarray_many(self, names, concat_dim, parallel)
