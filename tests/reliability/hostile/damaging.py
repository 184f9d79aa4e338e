"""Damage as disks, networks and people do it: bytes flipped, cut, swapped, files lost or taken for others.

Nothing is signed anew: whatever is read of such a store must be right, or refused.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.reliability.hostile.stores import Sound

__all__ = ["DAMAGES", "PLACES", "Mutant", "damaged"]


@dataclass
class Mutant:
    """A store that is not sound."""

    kind: str
    """How it was made."""
    files: dict[str, bytes]
    """Its files."""
    note: str = ""
    """What exactly was done."""
    signed: bool = False
    """Whether checksums were made to fit."""
    places: list[tuple[str, str]] = field(default_factory=list)
    """What lies on disk in place of files: key, and a name of `PLACES`."""


def damaged(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return bytes, at least one, in which something was damaged, and what."""
    at, stop = sorted(random.randrange(len(data) + 1) for _ in range(2))
    match random.randrange(7):
        case 0 | 1:
            changed = bytearray(data)
            for _ in range(random.choice([1, 1, 1, 2, 8])):
                changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return bytes(changed), "bits flipped"
        case 2:
            return data[:at], f"cut to {at} bytes"
        case 3:
            return data[:at] + random.randbytes(random.choice([1, 4, 100])) + data[at:], f"bytes inserted at {at}"
        case 4:
            return data[:at] + bytes(stop - at) + data[stop:], f"bytes {at} to {stop} zeroed"
        case 5:
            return data[:at] + data[stop:], f"bytes {at} to {stop} taken out"
        case _:
            middle = random.randint(at, stop)
            return data[:at] + data[middle:stop] + data[at:middle] + data[stop:], f"bytes {at} to {stop} turned"


def damage_bytes(sound: Sound, random: Random) -> Mutant:
    """Damage the bytes of a file or two."""
    files, notes = dict(sound.files), []
    for _ in range(random.choice([1, 1, 1, 2])):
        key = random.choice(sorted(files))
        if files[key]:
            files[key], note = damaged(files[key], random)
            notes.append(f"{key}: {note}")
    return Mutant("bytes damaged", files, "; ".join(notes))


def mix_files(sound: Sound, random: Random) -> Mutant:
    """Swap files, put one in place of another, empty one, or let several be lost."""
    files = dict(sound.files)
    one, other = (random.choice(sorted(files)) for _ in range(2))
    match random.randrange(4):
        case 0:
            files[one], files[other] = files[other], files[one]
            note = f"{one} and {other} swapped"
        case 1:
            files[one] = files[other]
            note = f"{one} is {other}"
        case 2:
            files[one] = b""
            note = f"{one} emptied"
        case _:
            del files[one]
            if random.random() < 0.3:
                files.pop(other, None)
            note = f"{one} lost, maybe {other}"
    return Mutant("files swapped or lost", files, note)


def misplace_files(sound: Sound, random: Random) -> Mutant:
    """Let something that is no file lie in the place of a file, or of a folder."""
    key = random.choice(sorted(sound.files))
    if "/" in key and random.random() < 0.3:
        key = key.rpartition("/")[0] if random.random() < 0.7 else key.split("/")[0]
    what = random.choice(list(PLACES))
    return Mutant("links, folders and pipes", dict(sound.files), f"{key}: {what}", places=[(key, what)])


DAMAGES = {damage_bytes: 10, mix_files: 4, misplace_files: 1}
"""Ways to damage a store, and how often each is taken."""


# What may lie on disk in place of a file or folder. `outside` has a copy of what lay there.


def _link_outside(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _link_dangling(path: Path, outside: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def _link_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path.name)


def _link_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path, outside: Path) -> None:
    path.mkdir()


def _pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, outside: Path) -> None:
    # A path for a socket is short: it is bound by a name in the folder, which no array has.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("s:socket")
        Path("s:socket").rename(path)
    finally:
        os.fchdir(here)
        os.close(here)


def _file(path: Path, outside: Path) -> None:
    path.write_bytes(b"not a folder")


PLACES: dict[str, Callable[[Path, Path], None]] = {
    "a link to a copy outside": _link_outside,
    "a link to nothing": _link_dangling,
    "a link to itself": _link_itself,
    "a link to a device": _link_device,
    "a folder": _folder,
    "a pipe": _pipe,
    "a socket": _socket,
    "a file": _file,
}
