"""Interrupts of `add_many` at moments that few runs meet: in a commit, in the last one, and where none is heard."""

from __future__ import annotations

import signal
from unittest import mock

import pytest
import xarray as xr

from atlas import Atlas
from atlas.ingest import IngestInterruptedError
from atlas.session import Session
from atlas.storage import LocalStorage

pytestmark = pytest.mark.usefixtures("keyboard")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    for at in range(20):
        xr.Dataset({"t": ("x", [1.0])}).to_netcdf(tmp_path / "files" / f"{at:02d}.nc")
    return tmp_path / "files"


def raise_here():
    raise KeyboardInterrupt


def send_signal():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("interrupt", [raise_here, send_signal])
def test_as_a_commit_is_in_place_it_costs_no_dataset_of_it(folder, tmp_path, interrupt):
    create, interrupted = LocalStorage.create, []

    def then_interrupt(self, key, data):
        done = create(self, key, data)
        if key.startswith("commits") and not interrupted:
            interrupted.append(key)
            interrupt()
        return done

    store = Atlas.create(tmp_path / "store")
    with mock.patch.object(LocalStorage, "create", then_interrupt), pytest.raises(IngestInterruptedError) as caught:
        store.add_many(folder, on_error="skip", flush_every="3 files")
    stored = [result.dataset for result in caught.value.report.results if result.status == "stored"]
    assert stored == ["00", "01", "02"]
    assert Atlas.open(tmp_path / "store").list_datasets() == stored == store.list_datasets()


def test_in_the_last_commit_it_takes_no_report_along(folder, tmp_path):
    flush, interrupted = Session.flush, []

    def interrupt_once(self, *arguments):
        if not interrupted:
            interrupted.append(self)
            raise KeyboardInterrupt
        flush(self, *arguments)

    store = Atlas.create(tmp_path / "store")
    with mock.patch.object(Session, "flush", interrupt_once):
        try:
            report = store.add_many(folder / "00.nc")
        except KeyboardInterrupt as error:
            assert isinstance(error, IngestInterruptedError), "there is no report"  # noqa: PT017 - it ends pytest
            report = error.report
    assert [(result.dataset, result.status) for result in report.results] == [("00", "stored")]
    assert Atlas.open(tmp_path / "store").list_datasets() == ["00"]
