from __future__ import annotations

import pytest

from atlas import Atlas, DatasetView


def pytest_configure(config):
    """Declare the markers of the tests of xarray, some of which are subclassed here."""
    for marker in ("asyncio", "flaky", "network", "skip_if_param", "skip_with_dask_array", "xfail_with_dask_array"):
        config.addinivalue_line("markers", f"{marker}: of the tests of xarray")


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
