"""One mutant after the other: made from its number, read by every way, judged. Runs in a child that may die of it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.reliability.hostile.damaging import DAMAGES, PLACES, Mutant
from tests.reliability.hostile.forging import FORGERIES, forge_digests
from tests.reliability.hostile.reading import ADDED, COPIED, Observation, observe, use
from tests.reliability.hostile.stores import SHARED, STORES, Sound, make_storage, sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Broken", "expected", "judge", "make_mutant", "watch_paths"]

_ON_DISK = 0.1
"""Share of mutants that are files rather than bytes in memory."""
_USED = 0.15
"""Share of mutants that are written to and compacted as well."""
_DEAR = 0.15
"""Share of what is dear that is asked of a mutant."""


class Broken(Exception):
    """A promise that a mutant has broken."""


def make_mutant(seed: int, number: int) -> tuple[Sound, Mutant, Random]:
    """Return mutant `number`, the sound store it comes from, and the chance that goes on with it."""
    random = Random(f"{seed}:{number}")
    ways = FORGERIES if random.random() < 0.6 else DAMAGES
    (way,) = random.choices(list(ways), list(ways.values()))
    origin = sound(random.choice([name for name in STORES if way is not forge_digests or name in SHARED]))
    return origin, way(origin, random), random


@cache
def expected(name: str) -> list[tuple[str | None, Observation]]:
    """Return what a store shows at its last version, and at the earlier ones that it shows where commits are lost.

    With each the commit whose loss leads there.
    """
    origin = sound(name)
    files = dict(origin.files)
    found: list[tuple[str | None, Observation]] = []
    lost = None
    names, arrays = _listed(origin)
    while True:
        shown = observe(make_storage(files), names, arrays, Random(0), share=2.0, most=1000)
        if "open" not in shown.refused:
            assert "CorruptStoreError" not in shown.refused.values(), shown.refused
            found.append((lost, shown))
        assert found, shown.refused
        commits = sorted(key for key in files if key.startswith("commits/"))
        checkpoint = next(key for key in origin.trees if "/" not in key)
        if not commits or int(commits[-1][8:28]) <= origin.trees[checkpoint]["version"]:
            return found
        lost = commits[-1]
        del files[lost]


@cache
def _listed_by_name(name: str) -> tuple[list[str], list[str]]:
    seen = observe(make_storage(sound(name).files), [], [], Random(0), share=0.0, most=1000).seen
    datasets = [what.removeprefix("open ") for what in seen if what.startswith("open ")]
    arrays = {what.partition("/")[2] for what in seen if what.startswith("meta ")}
    return datasets, sorted(arrays)


def _listed(origin: Sound) -> tuple[list[str], list[str]]:
    """Return the names of its datasets and arrays."""
    return _listed_by_name(origin.name)


def judge(seed: int, number: int, folder: Path) -> tuple[str, str]:
    """Return the kind of a mutant and what came of it: "refused", "read right", "read" or "read as before".

    Raises `Broken`, or whatever the library lets through that is no error of its own.
    """
    origin, mutant, random = make_mutant(seed, number)
    os.environ["ATLAS_NUM_THREADS"] = random.choice(["1", "1", "1", "2"])
    names, arrays = _listed(origin)
    on_disk = bool(mutant.places) or random.random() < _ON_DISK
    source = _laid_out(mutant, folder / "store", folder / "outside") if on_disk else make_storage(mutant.files)
    found = observe(source, names, arrays, random, share=_DEAR)
    if found.torn:
        raise Broken(f"read in two ways: {found.torn[:5]}")
    outcome = "read" if mutant.signed else _compared(origin, mutant, found)
    _check_links(mutant, found, names, arrays, random)
    if random.random() < _USED:
        wrong = use(source, random)
        if wrong:
            raise Broken(f"reads otherwise than it was written: {wrong}")
        after = observe(source, names, arrays, random, share=_DEAR)
        if not mutant.signed:
            _compare_used(origin, mutant, found, after)
    if found.refused.keys() - expected(origin.name)[0][1].refused.keys():
        outcome = "refused"
    return mutant.kind, outcome


def _compared(origin: Sound, mutant: Mutant, found: Observation) -> str:
    wrong = ""
    gone = {key for key in origin.files if key not in mutant.files} | {key for key, _ in mutant.places}
    for lost, right in expected(origin.name):
        if lost is not None and not any(lost == key or lost.startswith(f"{key}/") for key in gone):
            continue
        differing = [what for what, value in found.seen.items() if right.seen.get(what, value) != value]
        if not differing:
            return "read right" if lost is None else "read as before"
        wrong = wrong or str(differing[:5])
    raise Broken(f"other values: {wrong}")


def _compare_used(origin: Sound, mutant: Mutant, before: Observation, after: Observation) -> None:
    """Writing and compacting may not make of damage what looks sound."""
    for what, value in after.seen.items():
        whole = what.startswith(("read ", "box ")) and not what.startswith("box across")
        if (
            whole
            and ADDED not in what
            and COPIED not in what
            and value not in {right.seen.get(what, value) for _, right in expected(origin.name)}
        ):
            raise Broken(f"other values after a compaction: {what}")


def _check_links(mutant: Mutant, found: Observation, names: list[str], arrays: list[str], random: Random) -> None:
    """What lies behind a link may not be read: it shows what the store shows without it, or less."""
    for key, place in mutant.places:
        if "link" not in place and "pipe" not in place:
            continue
        files = {name: data for name, data in mutant.files.items() if name != key and not name.startswith(f"{key}/")}
        without = observe(make_storage(files), names, arrays, random, share=1.0, most=1000)
        more = [what for what, value in found.seen.items() if without.seen.get(what, value) != value]
        more += [what for what in found.seen if what in without.refused]
        if more:
            raise Broken(f"read through {place}: {more[:5]}")


def _laid_out(mutant: Mutant, store: Path, outside: Path) -> Path:
    """Write a mutant to disk and return its folder."""
    for place in (store, outside):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    for key, data in mutant.files.items():
        path = store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for key, place in mutant.places:
        path, copy = store / key, outside / Path(key).name
        if not path.exists():
            continue
        path.rename(copy)
        with _unwatched():
            PLACES[place](path, copy)
    return store


_watched = [True]


@contextmanager
def _unwatched() -> Iterator[None]:
    """Let what this module does itself pass."""
    _watched[0] = False
    try:
        yield
    finally:
        _watched[0] = True


def watch_paths(allowed: Callable[[], list[str]], report: Callable[[str], None]) -> None:
    """Report, for the life of this process, files that are opened or changed outside of the folders allowed."""
    reads = {"open", "os.listdir", "os.scandir"}
    writes = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}
    runs = {"os.exec", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"}

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if not _watched[0]:
            return
        if event in runs:
            report(f"{event} {arguments!r:.200}")
        elif event in reads or event in writes:
            for path in arguments[: 2 if event in {"os.rename", "os.link"} else 1]:
                if isinstance(path, str | bytes | os.PathLike) and not _is_within(os.fsdecode(path), allowed()):
                    report(f"{event} {path!r}")

    sys.addaudithook(look)


def _is_within(path: str, folders: list[str]) -> bool:
    whole = os.path.normpath(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118 - `Path` would raise events
    return any(whole == folder or whole.startswith(f"{folder}/") for folder in folders)


def _check_strayed(strayed: list[str]) -> None:
    if strayed:
        raise Broken(f"outside of the store: {strayed[:3]}")


def judge_many(seed: int, numbers: Iterator[int], begin: Callable[[int], None], end: Callable[..., None]) -> None:
    """Judge mutants and tell of each: `begin(number)` and `end(number, kind, outcome, what went wrong)`."""
    with tempfile.TemporaryDirectory(prefix="atlas-hostile-") as folder:
        strayed: list[str] = []
        ours = [sys.prefix, sys.base_prefix, "/proc", "/sys/fs/cgroup", "/dev/null", folder]
        ours += [
            os.environ.get("NUMBA_CACHE_DIR", folder),
            str(Path(__file__).parents[3]),
            str(Path(np.__file__).parents[1]),
        ]
        watch_paths(lambda: ours, strayed.append)
        for number in numbers:
            begin(number)
            strayed.clear()
            try:
                kind, outcome = judge(seed, number, Path(folder))
                _check_strayed(strayed)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the campaign looks for
                told = "".join(traceback.format_exception(error, limit=-8))
                end(number, make_mutant(seed, number)[1].kind, "failed", told)
            else:
                end(number, kind, outcome, "")
