"""What the recipe in docs/containers.md relies on: root warms an image, and others use it who may write nowhere."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas.kernels import JIT

NOBODY, UNKNOWN = 65534, 54321
"""A user of the user database whose home folder does not exist, and one who is in no database."""
PAGE = Path(__file__).parents[1] / "docs" / "containers.md"
GOLDEN = Path(__file__).parent / "golden" / "v1"
STORES = "dtypes", "shapes", "blocks-lz4-bit", "history"

READ = """
    import os, sys

    opened = []
    def watch(event, arguments):
        if event in ("os.mkdir", "os.rename", "os.remove"):
            opened.append((event, str(arguments[0])))
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append((event, str(arguments[0])))
    sys.addaudithook(watch)

    import atlas
    from atlas.kernels import count_kernels
    for place in sys.argv[1:]:
        store = atlas.Atlas.open(place)
        for name in store.list_datasets():
            view = store.open_dataset(name)
            cells = view.read_arrays(view.list_arrays())
            assert all(each is not None for each in cells.values())
        assert atlas.verify(place).ok
    counts = count_kernels()
    print(counts.compiled, counts.loaded > 10, counts.all_kept, opened)
"""
XARRAY = """
    import sys
    import atlas
    from atlas.kernels import count_kernels
    found = atlas.Atlas.open(sys.argv[1]).to_xarray_many(["a", "b"])["t"]
    print(found.sum().values, count_kernels().compiled)
"""


@functools.cache
def become(user):
    """A command that runs another as a user, without a home, who may write nothing that is root's."""
    change = ["setpriv", "--clear-groups", f"--reuid={user}", f"--regid={user}"]
    # The user gets the capability to read all files: Python may be installed in a folder that only root can read.
    reading = [*change, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    for command in (change, reading):
        with suppress(OSError):
            done = subprocess.run([*command, sys.executable, "-c", "import numba"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return pytest.skip("no other user can run this Python")


def run(image, *arguments, user=None):
    """What a command printed in an image, with no variable set but those of the recipe."""
    return subprocess.run(
        [*(become(user) if user else []), sys.executable, "-W", "error", *map(str, arguments)],
        env={"PATH": os.defpath, "PYTHONPATH": str(image), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def image():
    """A folder that everybody may read, with a copy of the package in which no kernel was ever kept."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    if not JIT:
        pytest.skip("kernels are plain Python here")
    with tempfile.TemporaryDirectory(prefix="atlas-image-") as name:
        folder = Path(name)
        _copy_package(Path(atlas.__file__).parent, folder)
        for golden in STORES:
            shutil.copytree(GOLDEN / golden, folder / golden)
        with atlas.Atlas.create(folder / "days") as store:
            store.create_datasets(["a", "b"])
            store.write_array_across_stacked("t", ["a", "b"], np.arange(24.0).reshape(2, 3, 4), ["y", "x"])
        _protect(folder)
        yield folder


def _copy_package(package, folder):
    shutil.copytree(package, folder / "atlas", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def warmed(image):
    """The same after `atlas warmup`."""
    done = run(image, "-m", "atlas", "warmup")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"kept in {image}/atlas/kernels/__pycache__\n")
    assert done.stderr == ""
    _protect(image)
    return image


def _protect(folder):
    """Let everybody read the files, and nobody but root write to them."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.slow
def test_a_warmed_image_compiles_nothing_writes_nothing_and_says_nothing(warmed):
    for user in (NOBODY, UNKNOWN):
        done = run(warmed, "-c", textwrap.dedent(READ), *(warmed / name for name in STORES), user=user)
        assert done.stderr == ""
        assert done.stdout == "0 True True []\n"


@pytest.mark.slow
def test_commands_and_xarray_work_in_a_warmed_image(warmed):
    done = run(warmed, "-m", "atlas", "ls", warmed / "history", user=UNKNOWN)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["kept", "reborn", "last"], "", 0)
    done = run(warmed, "-m", "atlas", "warmup", user=UNKNOWN)
    assert done.stdout.startswith("compiled 0 kernels and loaded ")
    assert (done.stderr, done.returncode) == ("", 0)
    done = run(warmed, "-m", "atlas", "ls", "~/store", user=UNKNOWN)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("Error: '~/store' begins with ~ for the home folder of a user, and there is none")
    assert len(done.stderr.splitlines()) == 1
    done = run(warmed, "-c", textwrap.dedent(XARRAY), warmed / "days", user=UNKNOWN)
    assert (done.stdout, done.stderr) == ("276.0 0\n", "")


@pytest.mark.slow
def test_an_image_that_was_never_warmed_works_and_says_what_to_do(image):
    with tempfile.TemporaryDirectory(prefix="atlas-image-") as name:
        folder = Path(name)
        _copy_package(image / "atlas", folder)
        _protect(folder)
        script = "import sys, atlas; print(atlas.Atlas.open(sys.argv[1]).open_dataset('kept').read_array('a').tolist())"
        done = run(folder, "-c", script, image / "history", user=UNKNOWN)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[0, 3, 100, 200, 300, 15, 18, 21]\n"
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"atlas cannot keep its compiled kernels: no writable folder among {folder}/atlas")
        assert "atlas warmup" in line


def test_the_recipe_copies_what_exists_and_warms_before_it_changes_the_user():
    (recipe,) = re.findall(r"^```dockerfile\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    steps = [line.split() for line in recipe.splitlines()]
    copied = {name for step in steps if step[0] == "COPY" for name in step[1:-1]}
    assert all((PAGE.parents[1] / name).exists() for name in copied)
    pyproject = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    fragments = pyproject["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    needed = {fragment["path"] for fragment in fragments} | set(pyproject["project"]["license-files"])
    assert copied == {"pyproject.toml", "atlas", *needed}
    assert steps.index(["RUN", "atlas", "warmup"]) < [step[0] for step in steps].index("USER")
