from __future__ import annotations

import shlex

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, __version__
from atlas.cli import main
from atlas.cli.formatting import size_text, table_lines, value_text
from tests.exact import set_exact_attribute


def test_version(run):
    assert run("--version").stdout == f"atlas {__version__}\n"


def test_help_names_every_command(run):
    out = run("--help").stdout
    assert ".netcdf" in run("create", "--help").stdout
    for command in main.commands:
        assert f"\n  {command}" in out
        shown = run(command, "-h").stdout
        assert shown.startswith("Usage: ")
        assert max(map(len, shown.splitlines())) <= 80
    assert "..." not in out.partition("Commands:")[2], "a summary does not fit in its line"


def test_ls_lists_names_in_order_of_creation(run, store):
    assert run("ls", store).stdout == "deep.er.mar.2024\ndeep.feb\njan\n"
    assert run("ls", store, "deep*").stdout == "deep.er.mar.2024\ndeep.feb\n"
    assert run("ls", store).stderr == run("ls", store, "deep*").stderr == ""


def test_ls_says_why_it_lists_nothing(run, store, tmp_path):
    for options in ((), ("--limit", 1)):
        result = run("ls", store, "nothing*", *options)
        assert (result.stdout, result.stderr) == ("", "no dataset matches 'nothing*'; the store has 3 datasets\n")
    Atlas.create(tmp_path / "empty").close()
    for pattern in ((), ("x*",)):
        result = run("ls", tmp_path / "empty", *pattern)
        assert (result.stdout, result.stderr) == ("", "the store has no datasets\n")


def test_a_limit_keeps_the_first_datasets_and_counts_the_others(run, store):
    result = run("ls", store, "--limit", 1)
    assert (result.stdout, result.stderr) == ("deep.er.mar.2024\n", "… and 2 more; --limit 0 shows all\n")
    result = run("ls", store, "deep*", "--limit", 1, "--long")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["dataset", "deep.er.mar.2024"]
    assert result.stderr == "… and 1 more; --limit 0 shows all\n"
    for limit in (0, 3, 4):
        result = run("ls", store, "--limit", limit)
        assert (len(result.stdout.splitlines()), result.stderr) == (3, "")
    assert "--limit" in run("ls", store, "--limit=-1", code=2).stderr


def test_a_limit_reads_no_more_datasets_than_it_shows(run, store, monkeypatch):
    opened = []
    open_dataset = Atlas.open_dataset
    monkeypatch.setattr(Atlas, "open_dataset", lambda self, name: opened.append(name) or open_dataset(self, name))
    run("ls", store, "--long", "--limit", 2)
    assert opened == ["deep.er.mar.2024", "deep.feb"]


def test_a_limit_keeps_the_arrays_that_take_most_space(run, store):
    whole = run("info", store).stdout.splitlines()
    result = run("info", store, "--limit", 2)
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == [line.split()[0] for line in (*whole[-5:-3], whole[-1])]
    rest = [
        array
        for array in Atlas.open(store).describe().arrays
        if array.name not in {lines[-3].split()[0], lines[-2].split()[0]}
    ]
    stored = size_text(sum(array.stored for array in rest))
    assert (len(rest), result.stderr) == (2, f"… and 2 more, with {stored} on disk; --limit 0 shows all\n")
    assert run("info", store, "--limit", 0).output == "\n".join([*whole, ""])


def test_ls_long_is_aligned(run, store):
    lines = run("ls", store, "-l").stdout.splitlines()
    assert lines[0].split() == ["dataset", "arrays", "attributes", "size"]
    assert lines[3].split() == ["jan", "4", "4", "89", "B"]  # hidden attributes do not count
    assert len({len(line) for line in lines}) == 1


def test_show_in_the_style_of_ncdump(run, store):
    assert run("show", store, "jan").stdout == (
        "dataset jan {\n"
        "dimensions:\n"
        "  x = 4\n"
        "  y = 3\n"
        "variables:\n"
        "  int64 x(x)\n"
        "      // one chunk, coordinate\n"
        "  timestamp_nanoseconds time()\n"
        "      // one chunk, coordinate\n"
        "  float32 t(y, x)\n"
        "      // one chunk\n"
        '      t:units = "K"\n'
        '      t:long_name = "temperature"\n'
        "  string station()\n"
        "      // one chunk\n"
        "attributes:\n"
        '  :title = "month 1"\n'
        "  :run = 7\n"
        "statistics:\n"
        "  variable  cells  nulls         min         max\n"
        "  x             4      0           0           3\n"
        "  time          1      0  2024-01-01  2024-01-01\n"
        "  t            12      1           2          12\n"
        '  station       1      0   "De Bilt"   "De Bilt"\n'
        "}\n"
    )


def test_show_of_odd_datasets(run, tmp_path):
    with Atlas.create(tmp_path / "s") as store:
        view = store.create_dataset("odd")
        view.define_array("never.written", "float32", ["x"], [4], [3], fill_value=-1.5)
        view.define_array("other", "int8", ["x"], [5])
        view.write_array("other", [0], np.arange(5, dtype=np.int8))
        view.set_attribute("note", "two\nlines, " + "and many words " * 10)
        set_exact_attribute(view, "values", np.arange(100, dtype=np.float32) / 10)
        view.set_attribute("on", value=True)
        store.create_dataset("empty")
    out = run("show", tmp_path / "s", "odd").stdout
    assert "  x = 4, 5  // differs between arrays\n" in out
    assert "// chunks of (3,), fill -1.5\n" in out
    assert "never.written      4    all    -    -\n" in out
    assert ':note = "two\\nlines, and many' in out
    assert ":values = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, … 100 values]\n" in out
    assert ":on = true\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert run("show", tmp_path / "s", "empty").stdout.startswith("dataset empty {\ndimensions:\nvariables:\n")


def test_show_decodes_dates_and_durations(run, tmp_path):
    time = xr.date_range("2000-02-28", periods=3, calendar="360_day", use_cftime=True)
    ds = xr.Dataset({"wait": ("time", np.array([1, 2, 3], "m8[D]"))}, coords={"time": time})
    with Atlas.create(tmp_path / "s") as store:
        late = xr.Variable("time", np.array(["9999-01-01", "NaT", "0001-01-01"], "M8[s]"), {"_FillValue": 60})
        ds = ds.assign(day=("time", np.array(["2000-01-01"] * 3, "M8[s]")), late=late)
        store.add_xr_dataset(ds.assign(flag=("time", [True, False, True]), half=("time", np.ones(3, "f2") / 10)), "a")
    out = run("show", tmp_path / "s", "a").stdout
    rows = {line.split()[0]: line.split() for line in out[out.index("statistics:") :].splitlines()}
    assert rows["time"][3:] == ["2000-02-28", "2000-02-30"]
    assert rows["wait"][3:] == ["86400", "seconds", "259200", "seconds"]
    assert rows["day"][3:] == ["2000-01-01", "2000-01-01"]
    assert rows["late"][1:] == ["3", "0", "0001-01-01", "9999-01-01"]
    assert rows["flag"][3:] == ["false", "true"]
    assert rows["half"][3:] == ["0.0999756", "0.0999756"]
    assert "  bool flag(time)\n" in out
    assert "  datetime64[s] late(time)\n      // one chunk, fill 1970-01-01T00:01:00\n" in out
    assert "cftime[360_day,1] in xarray" in out


def test_info_adds_up(run, store):
    lines = run("info", store).stdout.splitlines()
    facts = {line[:10].strip(): line[10:] for line in lines if not line.startswith(" ")}
    assert (facts["version"], facts["format"]) == ("1", "1, metadata in atlas.json")
    assert facts["codec"] == "zstd, filter auto"
    assert facts["datasets"] == "3"
    assert facts["arrays"] == "4 names in 4 segments"
    rows = {line.split()[0]: line.split() for line in lines[lines.index("") + 2 :]}
    assert rows["x"][1:6] == ["int64", "3", "1", "96", "B"]
    assert rows["t"][1:6] == ["mixed", "3", "1", "192", "B"]  # the packed file reads as float64
    assert rows["time"][1] == "timestamp"
    on_disk = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert f" of arrays in {size_text(on_disk)}" in facts["size"]


def test_info_of_an_empty_store(run, tmp_path):
    Atlas.create(tmp_path / "s", codec="lz4", meta_format="msgpack", meta_compression="zstd")
    out = run("info", tmp_path / "s").stdout
    assert "metadata in atlas.msgpack.zst" in out
    assert "codec     lz4" in out
    assert "datasets  0" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_rm_removes_all_the_names_or_none(run, store):
    result = run("rm", store, "jan", "nix", code=1)
    assert "'nix'" in result.stderr
    assert "nothing was removed" in result.stderr
    assert len(Atlas.open(store).list_datasets()) == 3
    assert run("rm", store, "jan", "deep.feb", "jan").stdout == "removed 2 datasets; 1 left\n"
    assert Atlas.open(store).list_datasets() == ["deep.er.mar.2024"]


def test_rm_says_what_earlier_versions_hold_and_its_command_frees_it(run, store, tmp_path):
    spaced = store.rename(tmp_path / "two words")
    stderr = run("rm", spaced, "jan").stderr
    held = size_text(Atlas.open(spaced).describe().held)
    head, command = stderr.splitlines()
    assert head == f"earlier versions still hold about {held}; to give them up and free the space:"
    program, *args = shlex.split(command)
    assert (program, args) == ("atlas", ["compact", str(spaced), "--keep-days", "0"])
    run(*args)
    assert Atlas.open(spaced).describe().held == 0


def test_rm_says_nothing_of_space_where_none_is_held(run, tmp_path):
    with Atlas.create(tmp_path / "s") as target:
        target.create_dataset("a")
    result = run("rm", tmp_path / "s", "a")
    assert (result.stdout, result.stderr) == ("removed 1 dataset; 0 left\n", "")


def test_rm_of_a_store_that_is_damaged_elsewhere(run, store):
    (path,) = store.glob("arrays/station/*")
    path.write_bytes(b"x" * path.stat().st_size)
    result = run("rm", store, "jan")
    assert result.stdout == "removed 1 dataset; 2 left\n"
    assert result.stderr.startswith("earlier versions still hold their data; to give them up")


def test_rm_compact_frees_the_space(run, store):
    before = Atlas.open(store).describe().on_disk
    result = run("rm", store, "jan", "deep.feb", "deep.er.mar.2024", "--compact")
    freed = before - Atlas.open(store).describe().on_disk
    assert result.stdout.startswith("removed 3 datasets; 0 left\nreclaimed ")
    assert freed > 0
    assert result.stdout.endswith("4 segments became 0; version 3 is kept\n")
    assert result.stderr == ""
    assert "arrays    0 names in 0 segments" in run("info", store).stdout


@pytest.mark.parametrize("command", [["ls"], ["info"], ["show", "a"], ["rm", "a"]])
def test_errors_are_one_line_without_a_traceback(run, tmp_path, command):
    result = run(command[0], tmp_path / "nowhere", *command[1:], code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: there is no store at ")
    assert result.stderr.count("\n") == 1


def test_urls_are_refused(run, tmp_path):
    assert "opens folders" in run("ls", "s3://bucket/store", code=2).stderr
    assert not (tmp_path / "s3:").exists()


def test_a_missing_dataset_and_a_damaged_store(run, store):
    assert run("show", store, "nix", code=1).stderr.startswith("Error: there is no dataset 'nix'")
    (store / "atlas.json").write_text("{}")
    result = run("ls", store, code=1)
    assert result.stderr.startswith("Error: atlas.json is damaged")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (102400, "100 KiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_sizes_with_units(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.1"),
        (0.1, "0.1"),
        ("ü\t", '"ü\\t"'),
        (b"\xff", '"\\\\xff"'),
        (None, "-"),
        ([1, "a"], '[1, "a"]'),
        (np.bool_(False), "false"),
        (np.datetime64("2020-01-01T00:00:00.5"), "2020-01-01T00:00:00.500"),
    ],
)
def test_values_as_text(value, text):
    assert value_text(value) == text


def test_a_long_first_cell_has_its_own_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = list(table_lines(("name", "n"), [("a" * 50, "1"), ("b", "2")]))
    assert lines == ["name  n", "a" * 50, "      1", "b     2"]
