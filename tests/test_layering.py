"""The rooms of the package: which of them may import what."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import atlas

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "atlas").rglob("*.py"))
DOORS = {
    "numba": {"atlas/kernels"},
    "llvmlite": {"atlas/kernels"},
    "obstore": {"atlas/storage"},
    "xarray": {"atlas/xarray", "atlas/many", "atlas/ingest"},
    "dask": {"atlas/xarray", "atlas/many", "atlas/ingest"},
}
"""The rooms that may import each package: one, but for xarray and dask."""
MAX_LINES = 430
"""Lines of the longest file that `atlas` may have, without its docstrings."""


def type_only(tree: ast.Module) -> set[ast.AST]:
    """Everything under `if TYPE_CHECKING:`."""
    return {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for statement in branch.body
        for node in ast.walk(statement)
    }


def imported(path: Path) -> set[str]:
    """Packages that a module imports when it runs, at its top or within a function."""
    tree = ast.parse(path.read_text())
    skipped = type_only(tree)
    names = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_contracts_of_import_linter_hold():
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "lint-imports is not installed; install atlas-store[test]"
    done = subprocess.run(
        [command, "--config", ".importlinter", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("package", DOORS)
def test_a_package_has_one_door(package):
    rooms = {f"atlas/{path.relative_to(ROOT / 'atlas').parts[0]}" for path in MODULES if package in imported(path)}
    assert rooms <= DOORS[package], (
        f"only {DOORS[package]} imports {package}: move the code there, or call it through it"
    )


@pytest.mark.parametrize("folder", ["format", "chunking", "kernels"])
def test_lower_rooms_touch_no_files_and_no_network(folder):
    banned = {"tempfile", "shutil", "socket", "urllib", "http", "io"}
    allowed = {"atlas/kernels/cache_folders.py": {"tempfile"}}  # it looks for a folder to keep compiled kernels in
    for path in (ROOT / "atlas" / folder).rglob("*.py"):
        key = str(path.relative_to(ROOT))
        assert not imported(path) & banned - allowed.get(key, set()), key


def test_importing_atlas_imports_no_optional_package():
    optional = ["obstore", "netCDF4", "matplotlib", "distributed", "tqdm", "click", "moto"]
    script = f"import sys, atlas; print(sorted(set({optional}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_xarray_imports_to_learn_of_the_engine_is_light():
    heavy = ["numba", "dask", "orjson", "zstandard", "atlas.store", "atlas.session", "atlas.kernels"]
    script = f"import sys, xarray, atlas.engine; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_loads_on_first_use_and_no_other_does():
    assert set(dir(atlas)) == set(atlas.__all__)
    for name in set(atlas.__all__) - {"AtlasError", "__version__", "errors"}:
        assert getattr(atlas, name) is getattr(import_module(f"atlas.{atlas._MODULES[name]}"), name)
    with pytest.raises(AttributeError, match="no attribute 'Atlantis'"):
        atlas.Atlantis  # noqa: B018


def count_lines(source: str) -> int:
    """Lines without those of docstrings."""
    texts = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return len(source.splitlines()) - sum(node.end_lineno - node.lineno + 1 for node in texts)


def test_no_file_is_longer_than_may_be():
    counts = {str(path.relative_to(ROOT)): count_lines(path.read_text()) for path in MODULES}
    long = {path: lines for path, lines in counts.items() if lines > MAX_LINES}
    assert long == {}, f"more than {MAX_LINES} lines: split each in two by what it does"
