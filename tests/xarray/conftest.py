from __future__ import annotations

import pytest

from atlas import Atlas, DatasetView
from atlas.write.writer import Writer


def pytest_configure(config):
    """Declare the markers of the tests of xarray, some of which are subclassed here."""
    for marker in ("asyncio", "flaky", "network", "skip_if_param", "skip_with_dask_array", "xfail_with_dask_array"):
        config.addinivalue_line("markers", f"{marker}: of the tests of xarray")


@pytest.fixture
def store(tmp_path):
    return Atlas.create(tmp_path / "store")


@pytest.fixture
def calls(monkeypatch):
    """The reads of views and what is written, with their arguments."""
    recorded = []
    read, write, write_together = DatasetView.read_array, Writer.write_array, Writer.write_arrays

    def recorded_read(self, name, start=None, shape=None):
        recorded.append(("read", name, start, shape))
        return read(self, name, start=start, shape=shape)

    def recorded_write(self, dataset, name, start, data):
        recorded.append(("write", name, start, data.shape))
        write(self, dataset, name, start, data)

    def recorded_together(self, dataset, data):
        recorded.append(("together", list(data)))
        write_together(self, dataset, data)

    monkeypatch.setattr(DatasetView, "read_array", recorded_read)
    monkeypatch.setattr(Writer, "write_array", recorded_write)
    monkeypatch.setattr(Writer, "write_arrays", recorded_together)
    return recorded
