"""Which files sources name, under which names, and what is passed over. No file is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from atlas.errors import InvalidTypeError, InvalidValueError, MissingExtraError
from atlas.ingest import sources
from atlas.ingest.sources import SUFFIXES, check_netcdf, find_files, path_text


def found_in(*named, **options):
    return find_files(named, **options)


def names_and_paths(found, folder):
    return [(source.name, source.path.relative_to(folder).as_posix()) for source in found.files]


@pytest.fixture
def folder(tmp_path):
    """A folder with files in two folders below it."""
    return filled(tmp_path / "data", "b.nc", "a.nc", "2024/jan.NC", "2024/raw/x.y.nc4", "2023/dec.cdf")


def filled(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_a_folder_gives_what_is_below_it_sorted(folder):
    found = found_in(folder)
    assert names_and_paths(found, folder) == [
        ("2023.dec", "2023/dec.cdf"),
        ("2024.jan", "2024/jan.NC"),
        ("2024.raw.x.y", "2024/raw/x.y.nc4"),
        ("a", "a.nc"),
        ("b", "b.nc"),
    ]
    assert {source.reason for source in found.files} == {None}
    assert (found.others, found.links, found.unreadable) == ([], [], [])


def test_names_come_from_the_path_below_the_folder_without_the_suffix(folder):
    seen = []

    def name_of(path):
        seen.append(path)
        return f"{len(seen)}-{path.name}"

    found = found_in(folder, folder / "2024" / "jan.NC", name_of=name_of)
    assert seen == [Path("2023/dec"), Path("2024/jan"), Path("2024/raw/x.y"), Path("a"), Path("b")]
    assert [source.name for source in found.files] == ["1-dec", "2-jan", "3-x.y", "4-a", "5-b"]


def test_files_and_folders_keep_the_order_in_which_they_are_named(folder):
    found = found_in(folder / "b.nc", folder / "2024", folder / "a.nc")
    assert names_and_paths(found, folder) == [
        ("b", "b.nc"),
        ("jan", "2024/jan.NC"),
        ("raw.x.y", "2024/raw/x.y.nc4"),
        ("a", "a.nc"),
    ]


def test_a_file_that_is_named_twice_comes_once_by_its_first_name(folder):
    found = found_in(folder / "2024" / "jan.NC", folder, folder / "2024")
    assert names_and_paths(found, folder)[0] == ("jan", "2024/jan.NC")
    assert len(found.files) == 5
    assert {source.reason for source in found.files} == {None}
    filled(folder, "2024/notes.txt")
    assert found_in(folder, folder / "2024").others == [str(folder / "2024" / "notes.txt")]


def test_a_file_that_is_named_needs_no_suffix(folder):
    filled(folder, "wrfout")
    assert names_and_paths(found_in(folder / "wrfout"), folder) == [("wrfout", "wrfout")]
    assert found_in(folder).others == [str(folder / "wrfout")]


def test_every_suffix_of_netcdf_counts_in_either_case(tmp_path):
    for suffix in SUFFIXES:
        filled(tmp_path, f"lower{suffix}", f"upper{suffix.upper()}", f"other{suffix}x")
    filled(tmp_path, ".nc", "nc", "a.nc.gz", "a.nc~", ".hidden.nc")
    found = found_in(tmp_path)
    paths = [source.path.name for source in found.files]
    assert paths == sorted(
        [*(f"lower{suffix}" for suffix in SUFFIXES), *(f"upper{suffix.upper()}" for suffix in SUFFIXES), ".hidden.nc"]
    )
    assert {Path(path).name for path in found.others} == {
        *(f"other{suffix}x" for suffix in SUFFIXES),
        ".nc",
        "nc",
        "a.nc.gz",
        "a.nc~",
    }
    assert ".hidden" in [source.name for source in found.files]


def test_others_are_listed_folder_by_folder_sorted(folder):
    filled(folder, "z.txt", "c.txt", "2024/b.csv")
    assert found_in(folder).others == [str(folder / path) for path in ("c.txt", "z.txt", "2024/b.csv")]


def test_a_pattern_of_names_chooses_in_place_of_suffixes(folder):
    filled(folder, "wrfout_d01", "2024/wrfout_d02")
    found = found_in(folder, folder / "a.nc", pattern="wrfout_*")
    assert names_and_paths(found, folder) == [
        ("2024.wrfout_d02", "2024/wrfout_d02"),
        ("wrfout_d01", "wrfout_d01"),
        ("a", "a.nc"),
    ]
    assert sorted(found.others) == sorted(
        str(folder / path) for path in ("a.nc", "b.nc", "2024/jan.NC", "2024/raw/x.y.nc4", "2023/dec.cdf")
    )
    assert names_and_paths(found_in(folder, pattern="[ab].n?"), folder) == [("a", "a.nc"), ("b", "b.nc")]
    assert found_in(folder, pattern="A.nc").files == []


def test_a_pattern_as_a_source_names_files(folder, monkeypatch):
    assert names_and_paths(found_in(f"{folder}/*.nc"), folder) == [("a", "a.nc"), ("b", "b.nc")]
    assert names_and_paths(found_in(folder / "*" / "[jd]*"), folder) == [
        ("dec", "2023/dec.cdf"),
        ("jan", "2024/jan.NC"),
    ]
    assert names_and_paths(found_in(f"{folder}/**/*.nc4"), folder) == [("x.y", "2024/raw/x.y.nc4")]
    monkeypatch.chdir(folder)
    assert [source.path for source in found_in("*.nc").files] == [Path("a.nc"), Path("b.nc")]


def test_folders_that_match_a_pattern_are_searched(folder):
    assert names_and_paths(found_in(folder / "20*"), folder) == [
        ("dec", "2023/dec.cdf"),
        ("jan", "2024/jan.NC"),
        ("raw.x.y", "2024/raw/x.y.nc4"),
    ]
    assert names_and_paths(found_in(folder / "**"), folder) == names_and_paths(found_in(folder), folder)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    filled(folder, "a[1].nc", "a1.nc")
    assert names_and_paths(found_in(folder / "a[1].nc"), folder) == [("a[1]", "a[1].nc")]
    (folder / "a[1].nc").unlink()
    assert names_and_paths(found_in(folder / "a[1].nc"), folder) == [("a1", "a1.nc")]


def test_the_home_folder_may_be_written_as_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert names_and_paths(found_in("~/2024/jan.NC"), folder) == [("jan", "2024/jan.NC")]
    assert names_and_paths(found_in("~/*.nc"), folder) == [("a", "a.nc"), ("b", "b.nc")]


def test_the_current_folder_is_searched(folder, monkeypatch):
    monkeypatch.chdir(folder / "2024")
    assert [(source.name, source.path) for source in found_in(".").files] == [
        ("jan", Path("jan.NC")),
        ("raw.x.y", Path("raw/x.y.nc4")),
    ]


@pytest.mark.parametrize("source", ["missing.nc", "missing", "*.grib", "missing/**/*.nc", "a\0b.nc", "http://a/b.nc"])
def test_a_source_that_is_not_there_is_refused(folder, source):
    with pytest.raises(InvalidValueError) as caught:
        found_in(folder / "a.nc", folder / source)
    assert str(caught.value) == f"{str(folder / source)!r} is neither a folder nor a file, and matches none"


@pytest.mark.parametrize(("source", "shown"), [(5, "int 5"), (None, "NoneType None"), (b"a.nc", "bytes b'a.nc'")])
def test_what_is_no_path_is_refused(source, shown):
    with pytest.raises(InvalidTypeError, match=f"a source is a path or a pattern, not {shown}"):
        found_in(source)


def test_a_link_that_leads_nowhere_is_a_file_that_cannot_be_read(folder):
    (folder / "gone.nc").symlink_to(folder / "nothing.nc")
    assert names_and_paths(found_in(folder / "gone.nc"), folder) == [("gone", "gone.nc")]
    assert "gone.nc" in [source.path.name for source in found_in(folder).files]


class TestLinks:
    def test_links_to_files_are_files(self, folder, tmp_path):
        (folder / "2023" / "link.nc").symlink_to(filled(tmp_path / "elsewhere", "x.nc") / "x.nc")
        assert ("2023.link", "2023/link.nc") in names_and_paths(found_in(folder), folder)

    def test_links_to_folders_are_listed_and_not_followed(self, folder, tmp_path):
        (folder / "2023" / "more").symlink_to(filled(tmp_path / "elsewhere", "x.nc"))
        found = found_in(folder)
        assert found.links == [str(folder / "2023" / "more")]
        assert [source.name for source in found.files] == ["2023.dec", "2024.jan", "2024.raw.x.y", "a", "b"]

    def test_links_to_folders_are_followed_where_asked_for(self, folder, tmp_path):
        (folder / "2023" / "more").symlink_to(filled(tmp_path / "elsewhere", "x.nc", "deep/y.nc", "z.txt"))
        found = found_in(folder, follow_links=True)
        assert names_and_paths(found, folder)[:3] == [
            ("2023.dec", "2023/dec.cdf"),
            ("2023.more.deep.y", "2023/more/deep/y.nc"),
            ("2023.more.x", "2023/more/x.nc"),
        ]
        assert len(found.files) == 7
        assert (found.links, found.others) == ([], [str(folder / "2023" / "more" / "z.txt")])

    def test_a_link_that_is_named_is_followed(self, folder, tmp_path):
        (tmp_path / "link").symlink_to(folder / "2024")
        (tmp_path / "file").symlink_to(folder / "a.nc")
        found = found_in(tmp_path / "link", tmp_path / "file")
        assert names_and_paths(found, tmp_path) == [
            ("jan", "link/jan.NC"),
            ("raw.x.y", "link/raw/x.y.nc4"),
            ("file", "file"),
        ]

    @pytest.mark.parametrize("target", [".", "2024", "2024/raw", ".."])
    def test_a_link_that_leads_in_a_circle_ends(self, folder, target):
        (folder / "2024" / "raw" / "again").symlink_to(folder / target)
        before = names_and_paths(found_in(folder), folder)
        found = found_in(folder, follow_links=True)
        assert names_and_paths(found, folder) == before
        followed = [str(folder / "2024" / "raw" / "again")] if target != ".." else []
        assert found.links == followed

    def test_two_links_that_lead_to_each_other_end(self, folder, tmp_path):
        one, other = filled(tmp_path / "one", "x.nc"), filled(tmp_path / "other", "y.nc")
        (one / "to").symlink_to(other)
        (other / "to").symlink_to(one)
        found = found_in(one, follow_links=True)
        assert names_and_paths(found, one) == [("to.y", "to/y.nc"), ("x", "x.nc")]
        assert found.links == [str(one / "to" / "to")]

    @pytest.mark.parametrize("link", ["0", "z"])
    def test_a_folder_has_its_own_path_wherever_a_link_to_it_is(self, folder, link):
        before = names_and_paths(found_in(folder), folder)
        (folder / link).symlink_to(folder / "2024")
        found = found_in(folder, follow_links=True)
        assert names_and_paths(found, folder) == before
        assert found.links == [str(folder / link)]

    def test_of_two_links_to_a_folder_the_first_is_followed(self, folder, tmp_path):
        filled(tmp_path / "elsewhere", "x.nc")
        for link in ("l2", "l1"):
            (folder / link).symlink_to(tmp_path / "elsewhere")
        found = found_in(folder, follow_links=True)
        assert ("l1.x", "l1/x.nc") in names_and_paths(found, folder)
        assert (len(found.files), found.links) == (6, [str(folder / "l2")])


class TestUnreadableFolders:
    @pytest.fixture
    def locked(self, folder, monkeypatch):
        """The folder 2024, which cannot be listed; the superuser could list any."""
        scandir = os.scandir

        def refuse(path="."):
            if Path(path).name == "2024":
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        return folder / "2024"

    def test_a_folder_that_cannot_be_listed_is_noted_and_the_others_are_searched(self, folder, locked):
        found = found_in(folder)
        assert found.unreadable == [(str(locked), "Permission denied")]
        assert [source.name for source in found.files] == ["2023.dec", "a", "b"]

    def test_also_the_one_that_was_named(self, folder, locked):
        found = found_in(locked, locked, folder)
        assert found.unreadable == [(str(locked), "Permission denied")]
        assert [source.name for source in found.files] == ["2023.dec", "a", "b"]


class TestNames:
    def test_files_of_one_name_all_have_a_reason(self, folder):
        filled(folder, "2024.jan.nc", "2024/jan.nc3", "2024.feb.nc", "2024/jan/x.nc")
        reasons = {source.path.relative_to(folder).as_posix(): source.reason for source in found_in(folder).files}
        assert {path for path, reason in reasons.items() if reason} == {"2024.jan.nc", "2024/jan.NC", "2024/jan.nc3"}
        assert reasons["2024/jan.NC"] == (
            f"{folder / '2024' / 'jan.nc3'}, {folder / '2024.jan.nc'} would also be dataset '2024.jan'; rename all but "
            "one, or choose other names"
        )

    def test_files_of_several_folders_may_clash(self, folder, tmp_path):
        other = filled(tmp_path / "other", "a.nc")
        found = found_in(folder, other)
        assert [source.path for source in found.files if source.reason] == [folder / "a.nc", other / "a.nc"]
        found = found_in(folder / "a.nc", folder / ".." / "data" / "a.nc")
        assert all("would also be dataset 'a'" in source.reason for source in found.files)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("_a", "'_a' cannot name a dataset"),
            ("a/b", "'a/b' cannot name a dataset"),
            ("", "a dataset name may not be empty"),
            (5, "a dataset name is text, not int: 5"),
            ("a\udce9", r"'a\udce9' cannot name a dataset: it holds a surrogate"),
        ],
    )
    def test_names_that_no_dataset_may_have_are_a_reason(self, folder, name, reason):
        found = found_in(folder / "a.nc", name_of=lambda path: name)
        (source,) = found.files
        assert reason in source.reason
        assert source.name == ("a\\udce9" if name == "a\udce9" else str(name))

    @pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
    def test_paths_that_are_not_utf8_have_a_reason_and_are_shown(self, folder, monkeypatch):
        latin = os.fsdecode(b"caf\xe9")
        filled(folder, f"{latin}.nc", f"{latin}/x.nc", f"{latin}.txt", "café.nc")
        found = found_in(folder)
        by_text = {path_text(source.path.relative_to(folder)): source for source in found.files}
        assert by_text["café.nc"].reason is None
        for path in (r"caf\xe9.nc", r"caf\xe9/x.nc"):
            assert by_text[path].reason == "its path is not valid UTF-8; rename the file or its folder"
            by_text[path].name.encode()
        assert found.others == [f"{folder}/caf\\xe9.txt"]
        monkeypatch.chdir(folder / latin)
        (source,) = found_in("x.nc").files
        assert source.reason == "its path is not valid UTF-8; rename the file or its folder"


def test_a_missing_netcdf4_is_named_with_what_installs_it(monkeypatch):
    check_netcdf()
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    for call in (check_netcdf, found_in):
        with pytest.raises(MissingExtraError, match=r"NetCDF files need netCDF4, .* the extra 'netcdf' of atlas-store"):
            call()


def test_one_source_needs_no_list(folder):
    assert find_files(folder).files == find_files(str(folder)).files == find_files([folder]).files
    assert len(find_files(folder).files) == 5
