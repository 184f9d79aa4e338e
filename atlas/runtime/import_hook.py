"""Calls a function once a package has been imported, without importing it. Knows no package by name."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["on_import"]


class _ImportWatcher(MetaPathFinder):
    """Leaves finding the package to the finders after it, and wraps the loader that they return."""

    def __init__(self, package: str, callback: Callable[[], object]) -> None:
        self._package = package
        self._callback = callback

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders return for the package; None for any other module."""
        finders = list(sys.meta_path)
        if fullname != self._package or self not in finders:
            return None
        others = finders[finders.index(self) + 1 :]
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_call(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self._callback()

            spec.loader.exec_module = load_and_call  # type: ignore[method-assign]  # a loader serves one module
        return spec


def on_import(package: str, callback: Callable[[], object]) -> None:
    """Call `callback` once the top-level package `package` is imported: at once if it already is, else right after."""
    if package in sys.modules:
        callback()
    else:
        sys.meta_path.insert(0, _ImportWatcher(package, callback))
