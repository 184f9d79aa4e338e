"""`atlas history`, `compact` and `rollback`."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from atlas import Atlas
from atlas.cli.formatting import size_text


def test_the_history_in_columns(run, store):
    target = Atlas.open(store)
    target.delete_dataset("jan")
    target.flush(message="without january " + "and so on " * 9)
    lines = run("history", store).stdout.splitlines()
    assert lines[0].split() == ["version", "time", "(UTC)", "made", "by", "changes"]
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines[1:] if line[:7].strip()]
    assert [row.split()[0] for row in rows] == ["0", "1", "2"]
    assert [row.split()[3] for row in rows] == ["create", "flush", "flush"]
    assert rows[1].split()[1] == f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    assert "datasets: 3 new; arrays: station, t, time, x" in " ".join(run("history", store).stdout.split())
    assert 'datasets: 1 deleted; "without january and so on' in " ".join(run("history", store).stdout.split())


def test_going_back_and_compacting(run, store):
    names = run("ls", store).stdout
    run("rm", store, "jan")
    assert (
        run("rollback", store, 1, "-m", "it was needed").stdout
        == "version 3 has the contents of version 1: 3 datasets\n"
    )
    assert run("ls", store).stdout == names
    assert "it was needed" in run("history", store).stdout
    assert run("compact", store).stdout.endswith("versions 0 to 3 are kept\n")
    assert run("compact", store, "--keep-versions", 2, "--keep-days", 0).stdout.endswith("versions 2 to 3 are kept\n")
    shown = run("compact", store, "--keep-days", 0).stdout
    assert shown.startswith("reclaimed ")
    assert shown.endswith("is kept\n")
    assert run("ls", store).stdout == names
    assert run("compact", store, "--keep-days", 0).stdout == shown.replace(
        shown.partition(";")[0], "nothing to reclaim"
    )
    result = run("rollback", store, 1, code=1)
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "no version 1" in result.stderr
    assert run("compact", store, "--keep-versions", 0, code=1).stderr.count("\n") == 1


def test_removing_and_compacting_frees_the_space(run, store):
    target = Atlas.open(store)
    before = sum(path.stat().st_size for path in store.rglob("*.seg"))
    run("rm", store, *target.list_datasets()[:2], "--compact")
    assert sum(path.stat().st_size for path in store.rglob("*.seg")) < before
    assert len(run("history", store).stdout.splitlines()) == 2


def test_a_limit_leaves_out_the_oldest_versions(run, store):
    run("rm", store, "jan")
    whole = run("history", store)
    assert whole.stderr == ""
    header, *rows = whole.stdout.splitlines()
    result = run("history", store, "--limit", 1)
    assert (result.stdout.splitlines(), result.stderr) == (
        [header, rows[-1]],
        "… 2 earlier versions; --limit 0 shows all\n",
    )
    assert run("history", store, "--limit", 2).stderr == "… 1 earlier version; --limit 0 shows all\n"
    for limit in (0, 3):
        assert run("history", store, "--limit", limit).output == whole.stdout


def test_a_limit_cuts_the_arrays_of_a_version(run, tmp_path):
    with Atlas.create(tmp_path / "s") as target:
        view = target.create_dataset("a")
        for number in range(11):
            view.define_array(f"t{number:02d}", "int8", ["x"], [1])
            view.write_array(f"t{number:02d}", [0], np.zeros(1, np.int8))
    assert "t10" in run("history", tmp_path / "s").stdout
    cut = " ".join(run("history", tmp_path / "s", "--limit", 5).stdout.split())
    assert cut.endswith("arrays: t00, t01, t02, t03, t04, t05, t06, t07, … and 3 more (--limit 0 shows all)")


def test_compact_says_what_earlier_versions_hold_and_until_when(run, store):
    run("rm", store, "jan")
    before = Atlas.open(store).describe().on_disk
    result = run("compact", store)
    after = Atlas.open(store)
    grown = after.describe().on_disk - before
    assert result.stdout == f"reclaimed 0 B; the store grew by {size_text(grown)}; versions 0 to 3 are kept\n"
    until = f"{after.history()[-1].time + dt.timedelta(days=30):%Y-%m-%d %H:%M} UTC"
    hint, command = " ".join(result.stderr.split()).split("; to free it now: ")
    held = size_text(after.describe().held)
    assert hint == f"versions 0 to 2 still hold {held}, of which a compaction after {until} frees the last"
    assert command == f"atlas compact {store} --keep-days 0"
    again = run("compact", store)
    assert (again.stdout, again.stderr) == ("nothing to reclaim; versions 0 to 3 are kept\n", result.stderr)
    run(*command.split()[1:])
    assert Atlas.open(store).describe().held == 0


@pytest.mark.parametrize(
    "options", [("--keep-versions", 2, "--keep-days", 0), ("--keep-days", "inf"), ("--keep-days", 1e300)]
)
def test_compact_names_no_time_where_none_is_known(run, store, options):
    run("rm", store, "jan")
    stderr = " ".join(run("compact", store, *options).stderr.split())
    first = "version 2 still holds" if "--keep-versions" in options else "versions 0 to 2 still hold"
    assert stderr.startswith(first)
    assert "UTC" not in stderr
    assert stderr.endswith(f"; to free it now: atlas compact {store} --keep-days 0")


def test_compact_counts_the_segments_that_became_fewer(run, tmp_path):
    with Atlas.create(tmp_path / "s") as target:
        for name in ("a", "b"):
            view = target.create_dataset(name)
            view.define_array("t", "int64", ["x"], [9])
            view.write_array("t", [0], np.arange(9))
            target.flush()
    result = run("compact", tmp_path / "s", "--keep-days", 0)
    assert result.stdout.endswith("; 2 segments became 1; version 3 is kept\n")
    assert result.stderr == ""


def test_a_rollback_to_the_latest_version_says_so(run, store):
    assert run("rollback", store, 1).stderr == "nothing changed: version 1 was the latest\n"
    assert run("rollback", store, 0).stderr == ""
