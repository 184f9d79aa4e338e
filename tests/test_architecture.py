"""docs/architecture.md: every name in code style exists, every room is described, every walk names its steps."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
WALKS = ("`write_array` to disk", "Stacked read to kernel", "Flush", "Open")
ROOMS = {
    path.stem for path in (ROOT / "atlas").iterdir() if path.suffix in {"", ".py"} and not path.stem.startswith("__")
}
NAMES = sorted(
    {name for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", TEXT) if name.partition(".")[0] in ROOMS}
    - {f"{room}.py" for room in ROOMS}
)


def resolve(name: str) -> object:
    """Return what `room.module.Class.attribute` names; an attribute that only instances have is None."""
    found: object = import_module("atlas")
    parts = name.split(".")
    for at, part in enumerate(parts):
        if hasattr(found, part):
            found = getattr(found, part)
        elif inspect.ismodule(found):
            found = import_module(f"atlas.{'.'.join(parts[: at + 1])}")
        else:
            assert inspect.isclass(found), f"{'.'.join(parts[:at])} is no class"
            assert any(re.search(rf"self\.{part}\b", inspect.getsource(base)) for base in found.__mro__[:-1]), (
                f"{name}: no instance has it"
            )
            return None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_page_exists(name):
    resolve(name)


def test_a_name_that_does_not_exist_is_found():
    for name in ("write.staging.Staged", "write.stage", "write.staging.Staging.no_such_method"):
        with pytest.raises((AssertionError, ImportError)):
            resolve(name)


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_has_numbered_steps_that_name_code(walk):
    steps = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", SECTIONS[walk], flags=re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert 8 <= len(steps) <= 15
    assert sum(any(f"`{name}`" in text for name in NAMES) for _, text in steps) >= 8


def test_every_room_is_in_the_diagram_and_in_the_table():
    diagram, table = SECTIONS["The rooms"].split("```")[1:]
    undrawn = {room for room in ROOMS if not re.search(rf"│ {room}\b", diagram)}
    assert undrawn == set(), "draw it in the diagram of docs/architecture.md, on the row that .importlinter gives it"
    cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    unlisted = {room for room in ROOMS if f"`{room}`" not in cells}
    assert unlisted == set(), (
        "add its contract and refusals to the table of docs/architecture.md, and to CONTRIBUTING.md"
    )
