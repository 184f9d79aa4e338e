"""`atlas verify` on intact and damaged stores: as text, as JSON, in a terminal."""

from __future__ import annotations

import json

from atlas import Atlas
from tests.cli.test_terminal import in_terminal


def damage(store, pattern, at):
    """Flip a byte of the only file that matches."""
    (path,) = store.glob(pattern)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return path


def test_a_whole_store(run, store):
    result = run("verify", store)
    lines = result.stdout.splitlines()
    # A path that does not fit beside its label is on the next line, unbroken.
    assert result.stdout.split()[:2] == ["store", str(store)]
    assert lines[-1].split() == ["found", "no", "damage"]
    assert result.stderr == ""
    assert run("verify", store, "--quiet").output == ""


def test_damage_is_named_in_a_table_of_80_columns(run, store):
    path = damage(store, "arrays/t/*.seg", 20)
    result = run("verify", store, code=1)
    lines = result.stdout.splitlines()
    assert str(path.relative_to(store)) in lines
    assert max(len(line) for line in lines if str(store) not in line) <= 80
    at = lines.index(str(path.relative_to(store)))
    assert lines[at + 1] == "  block 0: its bytes do not match their checksum"
    assert lines[at + 2].split() == ["dataset", "array", "chunk"]
    assert lines[at + 3].split()[1:] == ["t", "0,0"]
    assert run("verify", store, "-q", code=1).stdout == result.stdout


def test_the_report_as_json(run, store):
    found = json.loads(run("verify", store, "--json").stdout)
    assert (found["ok"], found["damage"], found["datasets"]) == (True, [], 3)
    path = damage(store, "arrays/t/*.seg", 3)
    found = json.loads(run("verify", store, "--json", code=1).stdout)
    assert found["ok"] is False
    assert [entry["file"] for entry in found["damage"]] == [str(path.relative_to(store))]


def test_a_lost_checkpoint_is_repaired(run, store):
    names = run("ls", store).stdout
    damage(store, "atlas.json", 100)
    run("ls", store, code=1)
    assert "none can be opened" not in run("verify", store, code=1).stdout
    run("ls", store, code=1)
    result = run("verify", store, "--repair", code=1)
    assert "repaired  atlas.json, written anew from the commits" in result.stdout
    assert run("ls", store).stdout == names
    run("verify", store)


def test_repair_says_that_it_repaired_nothing(run, store):
    assert run("verify", store, "--repair").stdout.endswith("repaired  nothing to repair\n")
    assert run("verify", store, "--repair", "--quiet").output == ""
    assert json.loads(run("verify", store, "--repair", "--json").stdout)["repaired"] == []
    damage(store, "arrays/t/*.seg", 20)
    result = run("verify", store, "--repair", code=1)
    assert result.stdout.endswith("repaired  nothing; only a damaged checkpoint can be rewritten\n")
    assert "repaired" not in run("verify", store, code=1).stdout


def test_undamaged_data_is_exported_and_the_rest_is_listed(run, store, tmp_path):
    damage(store, "arrays/t/*.seg", 20)
    result = run("verify", store, "--export", tmp_path / "rescued", code=1)
    assert f"undamaged data to {tmp_path / 'rescued'}" in " ".join(result.stdout.split())
    run("verify", tmp_path / "rescued")
    rescued, whole = Atlas.open(tmp_path / "rescued"), Atlas.open(store)
    assert rescued.list_datasets() == whole.list_datasets()
    for name in whole.list_datasets():
        arrays = rescued.open_dataset(name).list_arrays()
        for array in arrays:
            got, want = (some.open_dataset(name).read_array(array).tolist() for some in (rescued, whole))
            assert repr(got) == repr(want)
        for array in set(whole.open_dataset(name).list_arrays()) - set(arrays):
            assert [name, array] in [line.split() for line in result.stdout.splitlines()]
    result = run("verify", store, "--export", tmp_path / "rescued", code=1)
    assert result.stderr.startswith("Error: there is a store at")
    assert result.stderr.count("\n") == 1


def test_no_store(run, tmp_path):
    result = run("verify", tmp_path, code=1)
    assert result.stderr.startswith("Error: there is no store at")
    assert result.stdout == ""
    assert run("verify", "s3://bucket/store", code=2).stderr.count("URL") == 1


def test_a_bar_in_a_terminal_and_none_when_quiet(store):
    code, out = in_terminal("verify", str(store))
    assert code == 0
    assert "verify:" in out
    assert "B/s" in out
    assert out.replace("\r\n", "\n").rstrip().endswith("found     no damage")
    code, out = in_terminal("verify", str(store), "--quiet")
    assert (code, out) == (0, "")
