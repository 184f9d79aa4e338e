"""What is done once a package is imported, whoever imports it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading

import pytest

from atlas.xarray.import_hook import on_arrival


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package that can be imported and is not."""
    name = "atlas_test_package"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    yield folder
    sys.meta_path[:] = finders
    sys.modules.pop(name, None)


@pytest.fixture
def told(package):
    """What the package held each time that its arrival was told."""
    held = []
    on_arrival(package.name, lambda: held.append(vars(sys.modules[package.name]).get("value")))
    return held


def test_told_once_after_the_import(package, told):
    finders = len(sys.meta_path)
    module = importlib.import_module(package.name)
    assert told == [7]
    importlib.import_module(package.name)
    importlib.reload(module)
    assert told == [7]
    assert len(sys.meta_path) == finders - 1


def test_told_at_once_where_it_is_imported_already(package):
    importlib.import_module(package.name)
    told = []
    finders = list(sys.meta_path)
    on_arrival(package.name, lambda: told.append(True))
    assert told == [True]
    assert sys.meta_path == finders


def test_looking_for_the_package_is_no_import(package, told):
    assert importlib.util.find_spec(package.name) is not None
    assert told == []
    importlib.import_module(package.name)
    assert told == [7]


def test_an_import_that_fails_is_none(package, told):
    (package / "__init__.py").write_text("raise RuntimeError('broken')\n")
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module(package.name)
    assert told == []
    (package / "__init__.py").write_text("value = 8  # mended\n")
    importlib.invalidate_caches()
    importlib.import_module(package.name)
    assert told == [8]


def test_a_package_that_is_missing_stays_missing():
    finders = list(sys.meta_path)
    try:
        on_arrival("atlas_test_no_package", lambda: pytest.fail("it is not there"))
        with pytest.raises(ModuleNotFoundError, match="atlas_test_no_package"):
            importlib.import_module("atlas_test_no_package")
    finally:
        sys.meta_path[:] = finders


def test_told_once_to_threads_that_import_at_once(package, told):
    (package / "__init__.py").write_text("import time\ntime.sleep(0.05)\nvalue = 7\n")
    threads = [threading.Thread(target=importlib.import_module, args=[package.name]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [7]


def test_several_may_wait_for_one_package(package, told):
    on_arrival(package.name, lambda: told.append("second"))
    importlib.import_module(package.name)
    assert sorted(told, key=str) == [7, "second"]
