"""Lines that install a missing extra, and the warning about atlas-python beside this package."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from obstore.store import MemoryStore
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import atlas.ingest
import atlas.xarray
from atlas.cli.demo import draw_months, run_demo
from atlas.errors import MissingExtraError
from atlas.runtime.installation import install_line, missing_extra, warn_of_namesake
from atlas.storage import open_storage
from atlas.xarray.cftime_dates import decode_dates
from tests.distributions import ROOT, build, make_namesake

MIGRATION = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def promised(extra: str) -> set[tuple[str, str]]:
    """Names and versions that pyproject.toml gives for an extra, and for extras within it."""
    found = set()
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "atlas-store":
            found |= set().union(*(promised(inner) for inner in requirement.extras))
        else:
            found.add((canonicalize_name(requirement.name), str(requirement.specifier)))
    return found


def pasted(text: str) -> set[tuple[str, str]]:
    """Names and versions that the command at the end of `text` gives to pip, as a shell would."""
    command = text[text.rindex(shlex.quote(sys.executable)) :]
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    requirements = [Requirement(word) for word in words[4:]]
    return {(canonicalize_name(requirement.name), str(requirement.specifier)) for requirement in requirements}


@pytest.fixture
def installed(built_metadata, monkeypatch):
    """This tree counts as installed, whatever the environment has."""
    monkeypatch.syspath_prepend(built_metadata.parent)


def without_obstore():
    for name in [name for name in sys.modules if name.startswith("atlas.storage.objects")]:
        del sys.modules[name]
    open_storage(MemoryStore())


MISSING = {
    "obstore": ("cloud", without_obstore),
    "netCDF4": ("netcdf", atlas.ingest.check_netcdf),
    "zarr": ("zarr", atlas.ingest.check_zarr),
    "cftime": ("netcdf", lambda: decode_dates("t", np.array([1], "m8[us]"), "cftime[360_day,1]")),
    "iris_sample_data": ("demo", lambda: run_demo(None)),
    "matplotlib": ("demo", lambda: run_demo(None)),
    "matplotlib.figure": ("demo", lambda: draw_months(Path("a.png"), [], np.zeros((1, 1, 1)), *np.zeros((2, 1, 1)))),
}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("module", MISSING)
def test_a_missing_module_comes_with_a_command_that_installs_its_extra(module, monkeypatch):
    extra, call = MISSING[module]
    for name in ["atlas.storage.objects", "atlas.storage.obstore_handle"]:
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))  # restored at the end
    for name in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=f"{module.partition('.')[0]}, which is not installed") as caught:
        call()
    assert caught.value.name == module
    assert repr(extra) in str(caught.value)
    assert pasted(str(caught.value)) == promised(extra)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_command_of_an_extra_has_the_requirements_of_pyproject(extra):
    assert pasted(install_line(extra)) == promised(extra)


@pytest.mark.usefixtures("installed")
def test_the_help_of_the_demo_ends_with_a_command_that_can_be_pasted():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "from atlas.cli import main; main(['demo', '--help'])"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert pasted(shown) == promised("demo")


def test_a_source_tree_that_was_never_installed_names_the_packages(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    error = missing_extra("cloud", "object stores need obstore", "obstore")
    assert str(error).endswith(f"{shlex.quote(sys.executable)} -m pip install obstore")


# ---- atlas-python ------------------------------------------------------------------------------------------------


def put_metadata(folder, name, origin=None):
    info = folder / f"{name.replace('-', '_')}-0.9.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.9.1\n")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))


REINSTALLED = [
    (None, "atlas-store==0.9.1"),
    ({"url": "file:///a%20clone", "dir_info": {}}, "file:///a%20clone"),
    ({"url": "file:///a.whl", "archive_info": {}}, "file:///a.whl"),
    ({"url": "https://h/a", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}, "git+https://h/a@12ab"),
]


@pytest.mark.parametrize(("origin", "source"), REINSTALLED, ids=["index", "clone", "wheel", "git"])
def test_files_that_both_packages_own_are_installed_again(tmp_path, monkeypatch, caplog, origin, source):
    put_metadata(tmp_path, "atlas-python")
    put_metadata(tmp_path, "atlas-store", origin)
    monkeypatch.syspath_prepend(tmp_path)
    warn_of_namesake()
    [record] = caplog.records
    assert (record.levelno, record.name.partition(".")[0]) == (logging.WARNING, "atlas")
    python = shlex.quote(sys.executable)
    remove = f"{python} -m pip uninstall --yes atlas-python"
    again = f"{python} -m pip install --force-reinstall --no-deps {source}"
    assert record.getMessage().endswith(f": {remove} && {again}")


@pytest.mark.parametrize("origin", [{"url": "file:///a", "dir_info": {"editable": True}}, "never installed"])
def test_a_source_tree_needs_no_second_installation(tmp_path, monkeypatch, caplog, origin):
    put_metadata(tmp_path, "atlas-python")
    if origin != "never installed":
        put_metadata(tmp_path, "atlas-store", origin)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    warn_of_namesake()
    assert caplog.messages[0].endswith("-m pip uninstall --yes atlas-python")


@pytest.mark.parametrize("beside", [True, False])
def test_importing_atlas_warns_once_and_not_where_it_is_alone(tmp_path, beside):
    if beside:
        put_metadata(tmp_path, "atlas-python")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    script = "import atlas, atlas.store, importlib; importlib.import_module('atlas')"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("atlas-python is installed in the same environment") == beside
    assert beside or done.stderr == ""


@pytest.mark.slow
class TestPip:
    """What pip makes of both packages in one environment, and that the repair repairs it."""

    @pytest.fixture
    def environment(self, tmp_path):
        """A new environment that has all dependencies: the folder of its packages, and its variables."""
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        [site] = (tmp_path / "venv").glob("lib/*/site-packages")
        (tmp_path / "dependencies").mkdir()
        for path in Path(np.__file__).parents[1].iterdir():
            if "atlas" not in path.name and not path.name.startswith("pip"):
                (tmp_path / "dependencies" / path.name).symlink_to(path)
        (site / "dependencies.pth").write_text(str(tmp_path / "dependencies"))
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return site, variables | {"PIP_NO_INDEX": "1", "PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}"}

    @pytest.fixture
    def paste(self, environment, tmp_path):
        """A function that runs a command line of the shell in that environment, and returns stdout and stderr."""

        def paste(line: str) -> tuple[str, str]:
            done = subprocess.run(
                line, shell=True, cwd=tmp_path, env=environment[1], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout, done.stderr

        return paste

    ASK = """python -c "import atlas; print(*sorted({'Atlas', 'NAMESAKE'} & set(dir(atlas))))" """
    INSTALL = "python -m pip install --quiet --no-deps"

    def test_the_warning_has_a_line_that_repairs_it(self, paste, environment, tmp_path):
        ours, theirs = build("build_wheel", tmp_path), make_namesake(tmp_path)
        paste(f"{self.INSTALL} {theirs} && {self.INSTALL} {ours}")
        out, warning = paste(self.ASK)
        assert out == "Atlas\n"
        assert (environment[0] / "atlas" / "_core.py").exists()
        paste(warning.rpartition("To keep only atlas-store: ")[2])
        assert paste(self.ASK) == ("Atlas\n", "")
        assert not (environment[0] / "atlas" / "_core.py").exists()

    def test_the_other_package_installed_last_runs_instead_of_ours(self, paste, tmp_path):
        ours, theirs = build("build_wheel", tmp_path), make_namesake(tmp_path)
        paste(f"{self.INSTALL} {ours} && {self.INSTALL} {theirs}")
        assert paste(self.ASK) == ("NAMESAKE\n", ""), "no code of ours runs, so none can warn"
        [repair] = re.findall(r"^(python -m pip uninstall --yes atlas-python && .*)$", MIGRATION, flags=re.MULTILINE)
        paste(repair.replace(" .", f" {ours}"))
        assert paste(self.ASK) == ("Atlas\n", "")

    def test_an_editable_installation_is_hidden_whatever_the_order(self, paste, environment, tmp_path, built_metadata):
        # As an editable installation leaves it; pip itself would download what makes one.
        shutil.copytree(built_metadata, environment[0] / built_metadata.name)
        (environment[0] / "_editable.pth").write_text(str(ROOT))
        paste(f"{self.INSTALL} {make_namesake(tmp_path)}")
        assert paste(self.ASK) == ("NAMESAKE\n", ""), "folders named in .pth files come last"
        paste("python -m pip uninstall --yes atlas-python")
        assert paste(self.ASK) == ("Atlas\n", "")


def test_the_name_of_this_distribution_is_the_one_that_is_looked_up(built_metadata):
    assert metadata.Distribution.at(built_metadata).metadata["Name"] == "atlas-store"
