"""The examples in docstrings run, each in an empty folder."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import xarray as xr

import atlas

EXAMPLES = [
    example
    for module in pkgutil.walk_packages(atlas.__path__, "atlas.")
    for example in doctest.DocTestFinder(recurse=True).find(importlib.import_module(module.name))
    if example.examples
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_gives_what_it_says(example, tmp_path):
    example.globs |= {"atlas": atlas, "np": np, "xr": xr, "path": tmp_path / "store"}
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append)
    assert result.failed == 0, "".join(report)
