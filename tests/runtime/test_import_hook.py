"""The callback runs once, right after the package is imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading

import pytest

from atlas.runtime.import_hook import on_import


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package that can be imported and has not been."""
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
def calls(package):
    """The value that the package had at each call of the callback."""
    held = []
    on_import(package.name, lambda: held.append(vars(sys.modules[package.name]).get("value")))
    return held


def test_called_once_after_the_import(package, calls):
    finders = len(sys.meta_path)
    module = importlib.import_module(package.name)
    assert calls == [7]
    importlib.import_module(package.name)
    importlib.reload(module)
    assert calls == [7]
    assert len(sys.meta_path) == finders - 1


def test_called_at_once_where_the_package_is_imported_already(package):
    importlib.import_module(package.name)
    calls = []
    finders = list(sys.meta_path)
    on_import(package.name, lambda: calls.append(True))
    assert calls == [True]
    assert sys.meta_path == finders


def test_finding_the_spec_is_not_an_import(package, calls):
    assert importlib.util.find_spec(package.name) is not None
    assert calls == []
    importlib.import_module(package.name)
    assert calls == [7]


def test_a_failed_import_does_not_call(package, calls):
    (package / "__init__.py").write_text("raise RuntimeError('broken')\n")
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module(package.name)
    assert calls == []
    (package / "__init__.py").write_text("value = 8  # repaired\n")
    importlib.invalidate_caches()
    importlib.import_module(package.name)
    assert calls == [8]


def test_a_package_that_is_missing_stays_missing():
    finders = list(sys.meta_path)
    try:
        on_import("atlas_test_no_package", lambda: pytest.fail("no such package"))
        with pytest.raises(ModuleNotFoundError, match="atlas_test_no_package"):
            importlib.import_module("atlas_test_no_package")
    finally:
        sys.meta_path[:] = finders


def test_called_once_where_threads_import_together(package, calls):
    (package / "__init__.py").write_text("import time\ntime.sleep(0.05)\nvalue = 7\n")
    threads = [threading.Thread(target=importlib.import_module, args=[package.name]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [7]


def test_two_callbacks_for_one_package(package, calls):
    on_import(package.name, lambda: calls.append("second"))
    importlib.import_module(package.name)
    assert sorted(calls, key=str) == [7, "second"]
