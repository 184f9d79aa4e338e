"""Sources that are URLs: fetched by the process that reads, and read as files."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import InvalidValueError, MissingExtraError
from atlas.format.attribute_keys import INGESTED_KEY
from atlas.ingest import adding
from atlas.ingest.provenance import fingerprint, read_fingerprint
from atlas.ingest.reading import ReadOptions
from atlas.ingest.sources import find_files
from atlas.storage import MemoryStorage
from atlas.storage.urls import fetch_url, is_url, list_urls, stat_url
from tests.servers import s3_endpoint, serving  # noqa: F401 - a fixture

pytest.importorskip("netCDF4")
pytest.importorskip("obstore")


def cast(at):
    return xr.Dataset({"t": ("level", np.arange(3.0) + at)}, attrs={"at": at})


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "served"
    (root / "deep er").mkdir(parents=True)
    cast(1).to_netcdf(root / "a.nc", engine="netcdf4")
    cast(2).to_netcdf(root / "deep er" / "b+c.nc", engine="netcdf4")
    return root


@pytest.fixture
def served(folder):
    with serving(folder) as handle:
        yield handle.url.rstrip("/")


@pytest.fixture
def store():
    return Atlas.create(MemoryStorage())


@pytest.fixture
def bucket(s3_endpoint, folder, monkeypatch):  # noqa: F811 - the fixture
    """The URL of a bucket with the files."""
    name = s3_endpoint.make_bucket("served-files")
    handle = s3_endpoint.open_store(name)
    for path in folder.rglob("*.nc"):
        handle.put(f"casts/{path.relative_to(folder)}", path.read_bytes())
    handle.put("casts/readme.txt", b"casts")
    handle.put("casts2/x.nc", b"another folder")
    for variable, value in {
        "AWS_ENDPOINT_URL": s3_endpoint.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a-name",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}"


def origin(store, name):
    return read_fingerprint(store._session.view.exact_attributes(name)[INGESTED_KEY,])


class TestHttp:
    def test_a_file_is_stored_with_its_url_size_time_and_digest(self, store, served, folder):
        report = store.add_many([f"{served}/a.nc", f"{served}/deep%20er/b+c.nc"], workers=2)
        assert [(result.source, result.dataset, result.status) for result in report.results] == [
            (f"{served}/a.nc", "a", "stored"),
            (f"{served}/deep%20er/b+c.nc", "b+c", "stored"),
        ]
        xr.testing.assert_identical(store.to_xarray("a").load(), cast(1))
        found, local = origin(store, "a"), fingerprint(folder / "a.nc", digest=True)
        assert (found.path, found.size, found.digest) == (f"{served}/a.nc", local.size, local.digest)
        assert found.mtime_ns == local.mtime_ns // 10**9 * 10**9  # HTTP has seconds
        assert store.to_xarray("a").encoding["source"] == f"{served}/a.nc"

    def test_one_that_the_store_has_is_present_and_one_that_has_changed_is_not(self, store, served, folder):
        store.add_many(f"{served}/a.nc")
        assert store.add_many(f"{served}/a.nc").count("present") == 1
        os.utime(folder / "a.nc", (1e9, 1e9))
        assert store.add_many(f"{served}/a.nc").count("present") == 1  # the same bytes
        assert store.add_many(folder / "a.nc").count("present") == 1
        cast(9).to_netcdf(folder / "a.nc", engine="netcdf4")
        report = store.add_many(f"{served}/a.nc", on_error="skip")
        assert f"from {served}/a.nc, changed since; replace that one" in report.failures[0].reason

    def test_without_a_time_the_bytes_are_compared(self, store, served, folder, monkeypatch):
        os.utime(folder / "a.nc", (0, 0))  # as obstore has it where a server does not say
        store.add_many(f"{served}/a.nc")
        assert store.add_many(f"{served}/a.nc").count("present") == 1
        content = bytearray((folder / "a.nc").read_bytes())
        content[-1] ^= 1
        (folder / "a.nc").write_bytes(content)
        os.utime(folder / "a.nc", (0, 0))
        assert store.add_many(f"{served}/a.nc", on_error="skip").count("failed") == 1

    def test_missing_unreachable_and_damaged_files_fail_and_others_go_on(self, store, served, folder):
        (folder / "bad.nc").write_bytes(b"no NetCDF")
        sources = [f"{served}/no.nc", "http://127.0.0.1:9/b.nc", f"{served}/bad.nc", f"{served}/a.nc"]
        report = store.add_many(sources, on_error="skip")
        assert [result.status for result in report.results] == ["failed", "failed", "failed", "stored"]
        reasons = [result.reason for result in report.failures]
        assert "no such object" in reasons[0]
        assert "127.0.0.1:9" in reasons[1]
        assert "NetCDF: Unknown file format" in reasons[2]
        assert [result.source for result in report.failures] == sources[:3]

    def test_large_variables_are_read_from_what_was_fetched_and_nothing_is_left(
        self, store, served, folder, monkeypatch, tmp_path
    ):
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        monkeypatch.setattr(adding, "ReadOptions", partial(ReadOptions, large_bytes=20000))
        cells = np.arange(10000.0).reshape(100, 100)
        xr.Dataset({"big": (("y", "x"), cells)}).to_netcdf(folder / "big.nc", engine="netcdf4")
        store.add_many([f"{served}/big.nc", f"{served}/a.nc"])
        np.testing.assert_array_equal(store.to_xarray("big")["big"].values, cells)
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_a_listing_that_the_server_does_not_have_is_said(self, store, served):
        report = store.add_many([f"{served}/", f"{served}/a.nc"], on_error="skip")
        assert [url for url, _ in report.unreadable] == [f"{served}/"]
        assert report.count("stored") == 1

    def test_the_engine_reads_what_was_fetched(self, store, served):
        assert store.add_many(f"{served}/a.nc", engine="netcdf4").count("stored") == 1
        assert store.to_xarray("a").encoding["source"] == f"{served}/a.nc"


class TestBucket:
    def test_all_files_below_a_folder_are_added_by_their_paths(self, store, bucket):
        report = store.add_many(f"{bucket}/casts/")
        assert [(result.source, result.dataset) for result in report.results] == [
            (f"{bucket}/casts/a.nc", "a"),
            (f"{bucket}/casts/deep%20er/b%2Bc.nc", "deep er.b+c"),
        ]
        assert report.others == [f"{bucket}/casts/readme.txt"]
        assert report.is_complete
        xr.testing.assert_identical(store.to_xarray("deep er.b+c").load(), cast(2))
        assert store.add_many(f"{bucket}/casts/").count("present") == 2

    def test_a_pattern_and_names_choose(self, bucket):
        found = find_files(f"{bucket}/casts/", pattern="b*", name_of=lambda inner: inner.name.upper())
        assert [(source.name, source.url) for source in found.files] == [("B+C", f"{bucket}/casts/deep%20er/b%2Bc.nc")]
        assert found.others == [f"{bucket}/casts/a.nc", f"{bucket}/casts/readme.txt"]

    def test_a_file_that_is_not_there_fails(self, store, bucket):
        report = store.add_many(f"{bucket}/casts/no.nc", on_error="skip")
        assert "no such object in S3Store(bucket='served-files'" in report.failures[0].reason

    def test_size_and_time(self, bucket, folder, tmp_path):
        size, time = stat_url(f"{bucket}/casts/a.nc")
        assert size == (folder / "a.nc").stat().st_size
        fetch_url(f"{bucket}/casts/a.nc", tmp_path / "b.nc")
        assert (tmp_path / "b.nc").stat().st_mtime_ns == time
        assert (tmp_path / "b.nc").read_bytes() == (folder / "a.nc").read_bytes()
        assert list_urls(f"{bucket}/casts2/") == [f"{bucket}/casts2/x.nc"]


class TestNames:
    def test_files_of_one_name_all_have_a_reason(self, tmp_path):
        (tmp_path / "a.nc").touch()
        found = find_files([tmp_path / "a.nc", "https://host/x/a.nc", "s3://bucket/b.nc", "s3://bucket/b.nc"])
        assert [source.name for source in found.files] == ["a", "a", "b"]
        assert found.files[0].reason.startswith("https://host/x/a.nc would also be dataset 'a'")
        assert found.files[1].reason.startswith(f"{tmp_path / 'a.nc'} would also be")
        assert found.files[2].reason is None
        assert [source.origin for source in found.files] == [
            str(tmp_path / "a.nc"),
            "https://host/x/a.nc",
            "s3://bucket/b.nc",
        ]

    @pytest.mark.parametrize(
        ("text", "is_one"),
        [("https://h/a", True), ("HTTP://h/a", True), ("s3://b/a", True), ("ftp://h/a", False), ("a/s3://b", False)],
    )
    def test_only_some_schemes_are_urls(self, text, is_one):
        assert is_url(text) is is_one
        assert not is_url(Path(text))

    @pytest.mark.parametrize("url", ["https://h/a.nc?token=5", "https://me:secret@h/a.nc", "https:///a.nc"])
    def test_what_holds_a_secret_or_no_host_is_refused(self, url):
        with pytest.raises(InvalidValueError, match="without a query or password"):
            stat_url(url)

    def test_without_obstore_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "obstore.store", None)
        with pytest.raises(MissingExtraError, match="URLs need obstore, which is not installed; the extra 'cloud'"):
            stat_url("s3://bucket/a.nc")
