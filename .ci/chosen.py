"""A pytest plugin: chooses the tests of a lane, and notes which packages they import.

The rule: of the usual run, the first test of every file and every tenth after it, so that every room is there; and all
tests of the files in `WHOLE`, slow ones too.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

STEP = 10
WHOLE = {
    "tests/test_golden.py": "stores of every format version open with any versions of the codecs",
    "tests/test_layering.py": "runs import-linter",
    "tests/test_notebooks.py": "runs nbclient and a kernel",
    "tests/test_packaging.py": "runs hatchling",
    "tests/xarray/test_lazy.py": "runs every scheduler of dask, and distributed",
}
"""Files of which every test is chosen, with the reason."""


def choose(tests: Iterable[tuple[str, bool]]) -> list[bool]:
    """Whether each test is chosen; of each is given its file, and whether it is slow, in the order of the tests."""
    seen: Counter[str] = Counter()
    chosen = []
    for file, slow in tests:
        chosen.append(file in WHOLE or (not slow and seen[file] % STEP == 0))
        seen[file] += not slow
    return chosen


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are not chosen."""
    chosen = choose((item.location[0], item.get_closest_marker("slow") is not None) for item in items)
    config.hook.pytest_deselected(items=[item for item, kept in zip(items, chosen, strict=True) if not kept])
    items[:] = [item for item, kept in zip(items, chosen, strict=True) if kept]


def pytest_sessionfinish() -> None:
    """Note what this process has imported, for the check of the lane."""
    names = sorted({name.partition(".")[0] for name in sys.modules})
    (Path(os.environ["ATLAS_LANE_IMPORTS"]) / str(os.getpid())).write_text("\n".join(names))
