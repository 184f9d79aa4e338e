"""`atlas history`, `compact` and `rollback`."""

from __future__ import annotations

import datetime as dt

from atlas import Atlas


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
