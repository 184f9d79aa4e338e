"""A disk that forgets: what a power cut may leave of files and folders, from the effects that a program had on them.

Files and folders are numbered; a file has data, a folder has names. Data are durable once that file is synchronised, a
name once its folder is. Of all else, nothing is assumed, least of all an order:

- A name holds any of the values it has had since its folder was last synchronised, whatever other names hold. So a name
  that a link or a rename gave is there or not, and the data behind it are or are not; a replaced name is old or new.
  A rename may even leave both of its names, which is more than POSIX allows.
- A file holds the data as last synchronised, or any data it has had since, or the newest cut at half, or with zeros in
  place of all or of the first half of what was not synchronised.

Pure, but for `build`; no knowledge of atlas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROOT", "Disk", "Effect", "Named", "Synced", "Tree", "Variable", "Written", "build"]

ROOT = 0
"""Number of the folder that is recorded, which is itself durable."""

Variable: TypeAlias = "tuple[int, str] | int"
"""What a power cut decides: what a name (folder, name) holds, or what data a file (its number) has."""
Tree: TypeAlias = "dict[str, bytes | None]"
"""A state: data by path below the root, None for folders; parents come first."""


@dataclass(frozen=True, slots=True)
class Named:
    """Names of a folder that changed in one step: the number each holds, None where it is gone."""

    folder: int
    changes: dict[str, int | None]
    new_folder: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A file whose data changed, and all of them."""

    file: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Synced:
    """A file or folder that was waited for."""

    number: int


Effect: TypeAlias = "Named | Written | Synced"


class Disk:
    """What may be left after the effects applied so far."""

    def __init__(self) -> None:
        self.names: dict[int, dict[str, list[int | None]]] = {ROOT: {}}
        """By folder and name, what the name has held since the folder was synchronised, newest last."""
        self.data: dict[int, list[bytes]] = {}
        """By file, its data since it was synchronised, newest last."""

    def apply(self, effect: Effect) -> None:
        """Go on by one effect."""
        if isinstance(effect, Named):
            for name, number in effect.changes.items():
                self.names[effect.folder].setdefault(name, [None]).append(number)
                if number is not None and effect.new_folder:
                    self.names.setdefault(number, {})
        elif isinstance(effect, Written):
            self.data.setdefault(effect.file, [b""]).append(effect.data)
        elif effect.number in self.names:
            folder = self.names[effect.number]
            self.names[effect.number] = {name: held[-1:] for name, held in folder.items() if held[-1] is not None}
        elif effect.number in self.data:
            self.data[effect.number] = self.data[effect.number][-1:]

    def options(self, variable: Variable) -> list[Any]:
        """What a power cut may leave of a name or a file, the newest first."""
        if isinstance(variable, tuple):
            return list(dict.fromkeys(reversed(self.names[variable[0]].get(variable[1], [None]))))
        held = self.data.get(variable, [b""])
        if len(held) == 1:
            return held
        durable, newest = held[0], held[-1]
        kept = min(len(durable), len(newest))
        half = (kept + len(newest)) // 2
        torn = [
            newest[:half],
            durable[:kept] + bytes(len(newest) - kept),
            durable[:kept] + bytes(half - kept) + newest[half:],
        ]
        return list(dict.fromkeys([newest, *torn, *reversed(held)]))

    def combinations(self) -> int:
        """How many ways there are to choose for every name, and for every file that a name may hold."""
        names = [self.options((folder, name)) for folder, names in self.names.items() for name in names]
        files = {number for held in names for number in held if number in self.data}
        return math.prod([*map(len, names), *(len(self.options(number)) for number in files)])

    def tree(self, chosen: dict[Variable, Any]) -> tuple[Tree, dict[str, int]]:
        """The state where `chosen` is as given and all else the newest, and the numbers of its paths."""
        tree: Tree = {}
        numbers = {"": ROOT}
        waiting = [("", ROOT)]
        while waiting:
            path, folder = waiting.pop()
            for name in self.names[folder]:
                number = self._choose((folder, name), chosen)
                if number is None:
                    continue
                below = f"{path}/{name}" if path else name
                numbers[below] = number
                if number in self.names:
                    tree[below] = None
                    waiting.append((below, number))
                else:
                    tree[below] = self._choose(number, chosen)
        return tree, numbers

    def _choose(self, variable: Variable, chosen: dict[Variable, Any]) -> Any:
        return chosen[variable] if variable in chosen else self.options(variable)[0]


def build(tree: Tree, place: Path) -> None:
    """Lay a state down in an empty folder."""
    for path, data in tree.items():
        if data is None:
            (place / path).mkdir()
        else:
            (place / path).write_bytes(data)
