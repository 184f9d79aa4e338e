from __future__ import annotations

import pytest

from atlas import Atlas, DatasetView


@pytest.fixture
def store(tmp_path):
    return Atlas.create(tmp_path / "store")


@pytest.fixture
def calls(monkeypatch):
    """The reads and writes through the public methods of views, with their arguments."""
    recorded = []
    read, write = DatasetView.read_array, DatasetView.write_array

    def recorded_read(self, name, start=None, shape=None):
        recorded.append(("read", name, start, shape))
        return read(self, name, start=start, shape=shape)

    def recorded_write(self, name, start, data):
        recorded.append(("write", name, start, data.shape))
        write(self, name, start=start, data=data)

    monkeypatch.setattr(DatasetView, "read_array", recorded_read)
    monkeypatch.setattr(DatasetView, "write_array", recorded_write)
    return recorded
