from __future__ import annotations

import pytest

from atlas import Atlas, DatasetView


@pytest.fixture
def store(tmp_path):
    return Atlas.create(tmp_path / "store")


@pytest.fixture
def calls(monkeypatch):
    """The reads and writes made through the public calls of views, with what they were given."""
    made = []
    read, write = DatasetView.read_array, DatasetView.write_array

    def recorded_read(self, name, start=None, shape=None):
        made.append(("read", name, start, shape))
        return read(self, name, start=start, shape=shape)

    def recorded_write(self, name, start, data):
        made.append(("write", name, start, data.shape))
        write(self, name, start=start, data=data)

    monkeypatch.setattr(DatasetView, "read_array", recorded_read)
    monkeypatch.setattr(DatasetView, "write_array", recorded_write)
    return made
