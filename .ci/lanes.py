"""The lanes of `.ci/run`: what pyproject.toml promises, installed in an environment of its own and tested.

    python3 .ci/lanes.py find 3.12                  prints the lowest Python 3.12 of this machine
    PYTHON .ci/lanes.py run VERSIONS PYTHON FOLDER   installs the lowest or the newest VERSIONS in FOLDER, and tests

A lane runs the tests that `.ci/chosen.py` chooses. Then it checks itself: pip installed exactly the versions it should,
none of them withdrawn by its authors, and the tests imported every package that pyproject.toml names. Except for
`find`, it needs the package packaging.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNTESTED = {
    "mypy": "a linter: a step of its own, with the newest",
    "ruff": "a linter: a step of its own, with the newest",
}
"""Requirements that no lane promises anything about."""
ELSEWHERE = {
    "hatch-fancy-pypi-readme": "test_packaging.py runs hatchling",
    "hatchling": "test_packaging.py runs it",
    "import-linter": "test_layering.py runs it",
    "ipykernel": "test_notebooks.py starts a kernel",
}
"""Requirements that tests import in another process, where the lane does not see it; all these tests are chosen."""
IGNORED = {
    # Wheels of netCDF4 that are older than NumPy 2.3 expect a smaller header; NumPy itself ignores this on import.
    "lowest": [
        "ignore:numpy.ndarray size changed:RuntimeWarning",
        # matplotlib 3.8 calls pyparsing, which has no upper bound there, by its former names.
        "ignore::pyparsing.warnings.PyparsingDeprecationWarning",
        # xarray before 2025.7 announces a new default of an argument that tests leave out.
        "ignore:In a future version of xarray decode_timedelta:FutureWarning",
    ],
    "newest": [],
}
"""Warnings that are no errors in a lane, because the older of two packages causes them."""


def find(version: str) -> str | None:
    """The lowest interpreter of a version such as "3.12" that can make environments: on the PATH, or of pyenv."""
    candidates = [sys.executable, shutil.which(f"python{version}")]
    candidates += map(str, (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    question = "import ensurepip, sys, venv; print(*sys.version_info[:3])"
    found = []
    for candidate in filter(None, candidates):
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            found.append((tuple(map(int, answer.stdout.split())), candidate))
    return min((path for path in found if "{}.{}".format(*path[0]) == version), default=(None, None))[1]


def requirements() -> list:
    """Every requirement of the package and of its extras, but for those on the package itself."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != project["name"]]


def floors() -> dict[str, str]:
    """The lowest version of every requirement, by name."""
    found = {}
    for requirement in requirements():
        bounds = [bound for bound in requirement.specifier if bound.operator == ">="]
        if len(bounds) != 1:
            raise SystemExit(f"pyproject.toml: {requirement} has no lowest version; write it as NAME>=VERSION")
        if found.setdefault(requirement.name, bounds[0].version) != bounds[0].version:
            raise SystemExit(f"pyproject.toml: {requirement.name} has two lowest versions")
    return {name: version for name, version in found.items() if name not in UNTESTED}


def run(versions: str, python: str, folder: Path) -> int:
    """Install, test and check one lane; returns the exit status."""
    folder.mkdir()
    lane, imports = folder / "venv" / "bin" / "python", folder / "imports"
    imports.mkdir()
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    install = [lane, "-m", "pip", "install", "--disable-pip-version-check", "-e", f"{ROOT}[test]"]
    install += ["--report", folder / "report"]
    if versions == "lowest":
        lowest = folder / "lowest"
        lowest.write_text("".join(f"{name}=={version}\n" for name, version in floors().items()))
        install += ["--constraint", lowest, "--only-binary", ":all:"]
    installed = subprocess.run(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if installed.returncode:
        print(*installed.stdout.splitlines()[-30:], sep="\n")
        return installed.returncode
    # Before the tests, which take longer.
    checks = [lane, Path(__file__), "check", versions, folder]
    if subprocess.run([*checks, "installed"], check=False).returncode:
        return 1
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "ATLAS_LANE_IMPORTS": str(imports),
    }
    warnings = [option for text in IGNORED[versions] for option in ("-W", text)]
    pytest = [lane, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-p", "chosen", "-m", "not long", *warnings]
    failed = subprocess.run(pytest, cwd=ROOT, env=environment, check=False).returncode
    return failed or subprocess.run([*checks, "imported"], check=False).returncode


def check_installed(versions: str, folder: Path) -> list[str]:
    """What is wrong with the versions in the environment of this process."""
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    report = json.loads((folder / "report").read_text(encoding="utf-8"))["install"]
    wrong = [f"{entry['metadata']['name']} {entry['metadata']['version']} was withdrawn by its authors"
             for entry in report if entry.get("is_yanked")]  # fmt: skip
    lowest = floors()
    fresh = {canonicalize_name(entry["metadata"]["name"]) for entry in report}
    for name, version in lowest.items():
        installed = metadata.version(name)
        if versions == "lowest" and Version(installed) != Version(version):
            wrong.append(f"{name} {installed} is installed in the lane of the lowest versions, not {version}")
        if canonicalize_name(name) not in fresh:
            wrong.append(f"{name} was not installed by this lane")
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in lowest)
    print(f"the {versions} versions on Python {sys.version.split()[0]}: {shown}")
    return wrong


def check_imported(folder: Path) -> list[str]:
    """What the tests should have imported and did not."""
    from packaging.utils import canonicalize_name

    modules = {name for path in (folder / "imports").iterdir() for name in path.read_text().split()}
    distributions = metadata.packages_distributions()
    imported = {canonicalize_name(found) for module in modules for found in distributions.get(module, ())}
    missing = [name for name in floors() if canonicalize_name(name) not in imported and name not in ELSEWHERE]
    return [f"no chosen test imports {name}; choose one that does in .ci/chosen.py" for name in missing]


def main() -> int:
    """Run one of the commands."""
    command, *arguments = sys.argv[1:]
    if command == "find":
        found = find(*arguments)
        print(found or f"no Python {arguments[0]}")
        return 0 if found else 1
    if command == "run":
        return run(arguments[0], arguments[1], Path(arguments[2]))
    versions, folder, what = arguments[0], Path(arguments[1]), arguments[2]
    wrong = check_installed(versions, folder) if what == "installed" else check_imported(folder)
    print("".join(f"wrong: {text}\n" for text in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
