"""What an installation states: versions of Python and of packages, what is imported, and the text on an index page."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.environments import PINS
from tests.test_layering import MODULES, imported

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
BROUGHT_ALONG = {"llvmlite"}
"""Packages that are imported and not declared: Numba requires the one version of llvmlite that fits."""


def load(name):
    """A module of `.ci`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LANES, CHOSEN = load("lanes"), load("chosen")


# ---- versions ----------------------------------------------------------------------------------------------------


def test_readme_classifiers_and_lanes_name_the_same_pythons():
    [(first, last)] = re.findall(r"Python 3\.(\d+) to 3\.(\d+)", README)
    versions = [f"3.{minor}" for minor in range(int(first), int(last) + 1)]
    classified = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert classified == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"
    [looped] = re.findall(r"^for version in (.*); do$", RUN, flags=re.MULTILINE)
    assert looped.split() == versions
    assert f"\nlane lowest lowest {versions[0]}\n" in RUN


def test_every_requirement_has_one_lowest_version():
    lowest = LANES.floors()
    assert lowest["numba"] == "0.60"
    names = {requirement.name for requirement in LANES.requirements()}
    assert set(lowest) == names - set(LANES.UNTESTED)
    for listed in (LANES.UNTESTED, LANES.ELSEWHERE):
        assert set(listed) <= names, "no longer required"


@pytest.mark.parametrize("wrong", ["numpy", "numpy<3", "numpy==2.0"])
def test_a_requirement_without_a_lowest_version_is_refused(wrong, tmp_path, monkeypatch):
    text = f'[project]\nname = "a"\ndependencies = ["{wrong}"]\n[project.optional-dependencies]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr(LANES, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="lowest version"):
        LANES.floors()


def test_a_lane_with_other_versions_or_withdrawn_ones_fails(tmp_path, monkeypatch):
    entries = [{"metadata": {"name": name, "version": version}} for name, version in LANES.floors().items()]
    (tmp_path / "report").write_text(json.dumps({"install": entries}))
    monkeypatch.setattr(LANES.metadata, "version", LANES.floors().__getitem__)
    assert LANES.check_installed("lowest", tmp_path) == []
    monkeypatch.setattr(LANES.metadata, "version", lambda name: "99")
    assert LANES.check_installed("newest", tmp_path) == []
    wrong = LANES.check_installed("lowest", tmp_path)
    assert "numba 99 is installed in the lane of the lowest versions, not 0.60" in wrong
    assert len(wrong) == len(entries)
    entries[0]["is_yanked"] = True
    (tmp_path / "report").write_text(json.dumps({"install": entries[:-1]}))
    assert len(LANES.check_installed("newest", tmp_path)) == 2


def test_a_lane_whose_tests_leave_a_package_out_fails(tmp_path):
    (tmp_path / "imports").mkdir()
    provided = metadata.packages_distributions()
    (tmp_path / "imports" / "1").write_text("\n".join(set(provided) - {"obstore"}))
    (tmp_path / "imports" / "2").write_text("numpy")
    assert LANES.check_imported(tmp_path) == ["no chosen test imports obstore; choose one that does in .ci/chosen.py"]
    (tmp_path / "imports" / "2").write_text("obstore")
    assert LANES.check_imported(tmp_path) == []


def test_an_interpreter_is_found_and_another_is_not():
    this = "{}.{}".format(*sys.version_info)
    found = LANES.find(this)
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert asked.startswith(f"Python {this}.")
    assert LANES.find("2.7") is None


def test_every_tenth_test_of_a_file_and_whole_files_are_chosen():
    whole = next(iter(CHOSEN.WHOLE))
    files = ["a"] * 21 + ["b"] + [whole] * 3
    chosen = CHOSEN.choose((file, False) for file in files)
    assert [at for at, kept in enumerate(chosen) if kept] == [0, 10, 20, 21, 22, 23, 24]
    assert CHOSEN.choose([("a", True), ("a", False), (whole, True)]) == [False, True, True]


def test_the_whole_files_exist():
    assert [path for path in CHOSEN.WHOLE if not (ROOT / path).is_file()] == []


# ---- imports -----------------------------------------------------------------------------------------------------


def distributions(paths):
    """Names of the distributions that files import, without Python and this tree."""
    modules = set().union(*map(imported, paths)) - sys.stdlib_module_names - {"atlas", "tests", "benchmarks"}
    provided = metadata.packages_distributions()
    return {canonicalize_name(provided.get(module, [module])[0]) for module in modules}


def declared(*extras):
    """Names of the distributions that the package and these extras require."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_what_the_package_imports_is_declared():
    assert distributions(MODULES) - declared("cloud", "netcdf", "demo") == BROUGHT_ALONG


def test_what_tests_and_examples_import_is_declared():
    paths = [path for folder in ("tests", "examples", ".ci") for path in (ROOT / folder).rglob("*.py")]
    foreign = {"atheris", "atlas-test-no-package"}  # see CONTRIBUTING.md; a test of a package that is not there
    assert distributions(paths) - declared(*PROJECT["optional-dependencies"]) <= foreign


def test_what_benchmarks_import_is_declared_or_pinned():
    pinned = {canonicalize_name(pin.partition("==")[0]) for pins in PINS.values() for pin in pins}
    assert (
        distributions((ROOT / "benchmarks").rglob("*.py")) - declared(*PROJECT["optional-dependencies"]) - pinned
        <= BROUGHT_ALONG
    )


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_what_a_notebook_imports_is_in_the_extra_demo(path, tmp_path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in [*cell["source"], "\n"]]
    script = tmp_path / "notebook.py"
    script.write_text("".join(line if not line.startswith("%") else "\n" for line in lines), encoding="utf-8")
    assert ast.parse(script.read_text(encoding="utf-8")).body
    assert distributions([script]) <= declared("demo")


# ---- the index page ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def headers(built_metadata):
    return HeaderParser().parsestr((built_metadata / "METADATA").read_text(encoding="utf-8"))


def test_the_addresses_of_the_project_lead_into_the_repository(headers):
    urls = dict(line.split(", ") for line in headers.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert urls["Homepage"] == "https://github.com/atlas-store/atlas"
    for name, url in urls.items():
        assert url.startswith(urls["Homepage"])
        path = url.partition("/blob/main/")[2]
        assert not path or (ROOT / path).is_file(), name


def test_every_link_of_the_long_description_is_absolute_and_names_a_file(headers):
    text = headers.get_payload()
    assert headers["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(\s*([^)\s]+)", text) + re.findall(r"(?:href|src)=[\"']([^\"']+)", text)
    targets += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    links = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    ours = [target for target in targets if target.startswith(PROJECT["urls"]["Homepage"])]
    assert len(links) <= len(ours)
    for target in targets:
        assert re.match(r"https?://", target), f"{target}: written so that the build leaves it relative"
    for target in ours:
        path = re.match(r".*?/(?:blob|raw)/main/([^#?]+)", target)
        assert path, target
        assert (ROOT / path[1]).exists(), target


def test_the_long_description_differs_from_the_readme_in_links_alone(headers):
    homepage = PROJECT["urls"]["Homepage"]
    relative = re.sub(rf"\]\({homepage}/(?:blob|raw)/main/", "](", headers.get_payload())
    assert relative.strip() == README.strip()
