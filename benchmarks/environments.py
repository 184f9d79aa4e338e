"""One virtual environment per peer, with pinned versions, made by venv and pip and kept in a cache folder.

An environment is complete once it has the file `ready`; an incomplete one is made again. `EnvironmentFailedError`
reports one that cannot be made: the caller leaves its engines out. Packages whose data are measured are kept beside
the environments as pip downloads them, and never installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

__all__ = ["PINS", "EnvironmentFailedError", "archive", "default_folder", "interpreter"]

PINS = {
    "seed": ("atlas-python==0.9.1", "numpy==2.4.6", "xarray==2026.9.0", "dask==2026.8.0"),
    "zarr": ("zarr==3.1.6", "zarrs==0.2.3", "numcodecs==0.16.6", "numpy==2.4.6"),
    "tensorstore": ("tensorstore==0.1.86", "numpy==2.4.6"),
    "blosc2": ("blosc2==4.14.1", "numpy==2.4.6"),
    "netcdf": ("netCDF4==1.7.5.1.post1", "numpy==2.4.6"),
    "parquet": ("pyarrow==26.0.1", "numpy==2.4.6"),
    "tiledb": ("tiledb==0.36.1", "numpy==2.4.6"),
}


class EnvironmentFailedError(RuntimeError):
    """pip failed; the message is the last line of its output."""


def default_folder() -> Path:
    """The folder of the environments, in the cache folder of the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas-benchmarks"


def _pip(python: str, *arguments: str) -> None:
    command, *others = arguments
    command_line = [python, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *others]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailedError((done.stderr.strip() or done.stdout.strip() or "pip failed").splitlines()[-1])


def archive(pin: str, folder: Path, *, source: bool) -> Path:
    """Path of the source distribution of a package, or else of its wheel, which is downloaded if it is not there."""
    home = folder / pin
    home.mkdir(parents=True, exist_ok=True)
    for path in home.iterdir():
        return path
    print(f"downloading {pin} to {home}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        kind = "--no-binary" if source else "--only-binary"
        _pip(sys.executable, "download", "--no-deps", kind, pin.partition("==")[0], "--dest", unfinished, pin)
        (path,) = Path(unfinished).iterdir()
        return path.rename(home / path.name)


def interpreter(name: str, folder: Path) -> str:
    """Path of the Python of the environment `name`, which is made if it does not exist."""
    pins = PINS[name]
    digest = hashlib.sha256(repr((pins, sys.version_info[:2])).encode()).hexdigest()[:10]
    home = folder / f"{name}-{digest}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"making an environment of {', '.join(pins)} in {home}", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        _pip(str(python), "install", *pins)
        (home / "ready").write_text("\n".join(pins))
    return str(python)
