"""What tells a file from its later forms, and how it is kept."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from atlas.ingest import provenance
from atlas.ingest.provenance import Fingerprint, describe_source, fingerprint, read_fingerprint

NOW = dt.datetime(2026, 3, 1, 12, 30, 5, 999, tzinfo=dt.UTC)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.nc"
    path.write_bytes(b"cells" * 1000)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    return path


def test_a_fingerprint_is_path_size_time_and_digest(file):
    digest = xxhash.xxh3_128_hexdigest(b"cells" * 1000)
    assert fingerprint(file, digest=True) == Fingerprint(str(file), 5000, 1_700_000_000_123_456_789, digest)
    assert fingerprint(file, digest=False) == Fingerprint(str(file), 5000, 1_700_000_000_123_456_789, None)


def test_the_path_is_absolute_and_links_stay(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert fingerprint(Path("a.nc"), digest=False).path == str(file)
    Path("link.nc").symlink_to(file)
    found = fingerprint(Path("link.nc"), digest=True)
    assert found == replace(fingerprint(file, digest=True), path=str(file.parent / "link.nc"))


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250])
def test_files_are_read_in_parts(tmp_path, monkeypatch, size):
    monkeypatch.setattr(provenance, "_READ_BYTES", 100)
    raw = os.urandom(size)
    (tmp_path / "a").write_bytes(raw)
    assert fingerprint(tmp_path / "a", digest=True).digest == xxhash.xxh3_128_hexdigest(raw)


def test_a_file_that_is_not_there_raises(tmp_path):
    for digest in (False, True):
        with pytest.raises(FileNotFoundError):
            fingerprint(tmp_path / "none", digest=digest)


def test_unchanged_is_what_has_path_size_and_time(file):
    before = fingerprint(file, digest=True)
    assert before.is_unchanged(fingerprint(file, digest=False))
    os.utime(file, ns=(1, before.mtime_ns + 1))
    assert not before.is_unchanged(fingerprint(file, digest=False))
    os.utime(file, ns=(1, before.mtime_ns))
    assert before.is_unchanged(fingerprint(file, digest=False))
    file.write_bytes(b"cells" * 999)
    os.utime(file, ns=(1, before.mtime_ns))
    assert not before.is_unchanged(fingerprint(file, digest=False))
    assert not before.is_unchanged(replace(before, path="/elsewhere"))


def test_equal_bytes_count_wherever_and_whenever(file):
    before = fingerprint(file, digest=True)
    moved = file.rename(file.parent / "b.nc")
    os.utime(moved, ns=(5, 5))
    assert before.has_equal_bytes(fingerprint(moved, digest=True))
    moved.write_bytes(b"cellz" * 1000)
    assert not before.has_equal_bytes(fingerprint(moved, digest=True))
    assert not replace(before, digest=None).has_equal_bytes(replace(before, digest=None))
    assert not before.has_equal_bytes(replace(before, digest=None))


def test_a_file_that_changes_while_its_digest_is_made_is_not_unchanged(file, monkeypatch):
    before = fingerprint(file, digest=False)

    def made():
        with file.open("ab") as more:
            more.write(b"more")
        return xxhash_128()

    xxhash_128 = xxhash.xxh3_128
    monkeypatch.setattr(provenance.xxhash, "xxh3_128", made)
    after = fingerprint(file, digest=True)
    assert not before.is_unchanged(after)
    assert (after.size, after.digest) == (5004, xxhash.xxh3_128_hexdigest(b"cells" * 1000 + b"more"))


def test_what_is_kept_is_json_with_time_and_version():
    found = Fingerprint("/d/ü.nc", 12, -5, "0" * 32)
    assert json.loads(describe_source(found, "1.2.3", NOW)) == {
        "path": "/d/ü.nc",
        "size": 12,
        "mtime_ns": -5,
        "digest": "0" * 32,
        "added": "2026-03-01T12:30:05+00:00",
        "by": "1.2.3",
    }


@given(
    st.builds(
        Fingerprint,
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers(0, 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text("0123456789abcdef", min_size=32, max_size=32),
    )
)
def test_what_is_kept_comes_back(found):
    assert read_fingerprint(describe_source(found, "1", NOW)) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
FIELDS = st.sampled_from(["path", "size", "mtime_ns", "digest"])


@given(st.dictionaries(FIELDS, JSON) | JSON)
def test_any_other_json_is_none_or_a_fingerprint(value):
    found = read_fingerprint(json.dumps(value))
    if found is not None:
        assert isinstance(found.path, str)
        assert isinstance(found.size, int)
        assert isinstance(found.mtime_ns, int)
        assert found.digest is None or isinstance(found.digest, str)


@given(st.text() | st.binary() | st.none() | st.integers() | st.lists(st.text(), max_size=2))
def test_any_other_value_of_the_attribute_is_none(value):
    assert read_fingerprint(value) is None


@pytest.mark.parametrize(
    "change", [{"path": 5}, {"size": "5"}, {"size": 1.5}, {"size": None}, {"mtime_ns": 2**70}, {"digest": 5}]
)
def test_a_value_of_another_type_makes_it_none(change):
    values = {"path": "/a", "size": 5, "mtime_ns": 5, "digest": None}
    assert read_fingerprint(json.dumps(values)) == Fingerprint("/a", 5, 5)
    assert read_fingerprint(json.dumps(values | change)) is None
    for name in values:
        assert read_fingerprint(json.dumps({key: value for key, value in values.items() if key != name})) is None
