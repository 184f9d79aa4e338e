"""Folders of files to be added: good ones of many kinds, bad ones, and ones that crash the process that reads them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import netCDF4
import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CRASHING", "LARGE", "make_files", "make_good_files"]

CRASHING = "crash.nc"
"""How the names of files end whose reading is to crash the process that reads them."""
LARGE = "large.nc"
"""How the names of files end that are read block by block."""
_LARGE_BYTES = 65 << 20


def _profile(path: Path, chance: random.Random) -> None:
    levels, rng = chance.randint(1, 200), np.random.default_rng(chance.getrandbits(32))
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"title": "profile", "cycle": np.int32(chance.randrange(1000))})
        file.createDimension("level", levels)
        for name, unit in (("temp", "degC"), ("psal", "1")):
            variable = file.createVariable(name, "f4", ("level",), fill_value=np.float32(99999))
            variable.setncatts({"units": unit, "valid_range": np.array([-5, 45], "f4")})
            variable[:] = np.where(rng.random(levels) < 0.1, 99999, rng.normal(10, 3, levels).round(2))
        juld = file.createVariable("juld", "f8", ())
        juld.units = "days since 1950-01-01"
        juld[...] = 27_000 + rng.integers(10_000) / 24


def _packed(path: Path, chance: random.Random) -> None:
    rng = np.random.default_rng(chance.getrandbits(32))
    cells = rng.normal(280, 10, (chance.randint(1, 4), 3, 5)).round(1)
    ds = xr.Dataset({"t": (("time", "y", "x"), cells)}, {"time": np.arange(len(cells))})
    ds["time"].attrs["units"] = "hours since 2026-01-01 00:00"
    ds["t"].encoding = {"dtype": "i2", "scale_factor": 0.1, "add_offset": 280.0, "_FillValue": -32767, "zlib": True}
    ds.to_netcdf(path, unlimited_dims=["time"])


def _text(path: Path, chance: random.Random) -> None:
    words = ["", "Kiel", "Brest", "Ørland", "a longer name than the others"]
    chosen = [chance.choice(words) for _ in range(chance.randint(1, 9))]
    ds = xr.Dataset({"name": ("station", np.array(chosen, object)), "code": ("station", np.array(chosen, "U"))})
    ds["code"] = ds["code"].str.encode("utf-8").astype("S")
    ds.attrs = {"history": chance.choice(words), "flags": [1, 2, 3]}
    ds.to_netcdf(path)


def _times(path: Path, chance: random.Random) -> None:
    count = chance.randint(1, 30)
    at = np.datetime64("2020-01-01", "ns") + np.arange(count) * np.timedelta64(chance.randint(1, 7200), "s")
    ds = xr.Dataset(
        {"lag": ("time", np.arange(count) * 0.5), "u": ("time", np.arange(count, dtype="i8"))}, {"time": at}
    )
    ds["lag"].attrs["units"] = "hours"
    ds["noon"] = ((), np.float64(chance.randrange(900)), {"units": "days since 2000-01-01", "calendar": "noleap"})
    ds.to_netcdf(path)


def _classic(path: Path, chance: random.Random) -> None:
    cells = np.arange(chance.randint(2, 60), dtype="f8").reshape(-1, 1) / 8
    ds = xr.Dataset({"p": (("time", "x"), cells), "n": ("time", np.arange(len(cells), dtype="i4"))})
    ds.to_netcdf(path, format=chance.choice(["NETCDF3_CLASSIC", "NETCDF3_64BIT"]), unlimited_dims=["time"])


def _large(path: Path, chance: random.Random) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", _LARGE_BYTES)
        cells = file.createVariable("cells", "i1", ("x",), chunksizes=(1 << 20,))
        cells[chance.randrange(_LARGE_BYTES)] = 7  # chunks without a cell take no place
        file.createVariable("number", "i4", ())[...] = chance.randrange(1000)


def _cut(path: Path, chance: random.Random) -> None:
    _classic(path, chance)
    whole = path.read_bytes()
    path.write_bytes(whole[: -8 * chance.randint(1, 2)])


def _garbage(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(chance.randint(1, 5000)))


def _damaged(path: Path, chance: random.Random) -> None:
    _times(path, chance)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _empty(path: Path, chance: random.Random) -> None:
    path.touch()


def _groups(path: Path, chance: random.Random) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createGroup("inner").createVariable("v", "f4", ())[...] = 1


def _lists(path: Path, chance: random.Random) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 2)
        lists = file.createVariable("lists", file.createVLType("f4", "floats"), ("x",))
        lists[0], lists[1] = np.ones(2, "f4"), np.ones(1, "f4")


_GOOD: dict[str, Callable[[Path, random.Random], None]] = {
    "profile.nc": _profile,
    "packed.nc4": _packed,
    "text.nc": _text,
    "times.nc": _times,
    "classic.nc3": _classic,
}
_BAD: dict[str, Callable[[Path, random.Random], None]] = {
    "cut.nc": _cut,
    "garbage.nc": _garbage,
    "damaged.nc": _damaged,
    "empty.cdf": _empty,
    "groups.nc": _groups,
    "lists.nc": _lists,
    CRASHING: _classic,
}


def make_files(folder: Path, seed: int, good: int, *, large: bool = False) -> set[str]:
    """Make good files, one bad one of each kind and two that crash, in folders; return the paths of the bad ones."""
    chance = random.Random(seed)
    kinds = [chance.choice([*_GOOD, "profile.nc"]) for _ in range(good)] + [*_BAD, CRASHING] + [LARGE] * large
    chance.shuffle(kinds)
    bad = set()
    for number, kind in enumerate(kinds):
        path = folder / chance.choice(["", "north", "south/deep"]) / f"{number:03d}-{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (_GOOD | _BAD | {LARGE: _large})[kind](path, chance)
        if kind in _BAD:
            bad.add(str(path))
    return bad


def make_good_files(folder: Path) -> list[Path]:
    """Make one good file of each kind but the large one."""
    for name, make in _GOOD.items():
        make(folder / name, random.Random(name))
    return sorted(folder.iterdir())
