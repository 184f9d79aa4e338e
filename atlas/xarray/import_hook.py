"""Does something once a package is imported, by whomever, without importing it. Knows no package by name."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["on_arrival"]


class _Watcher(MetaPathFinder):
    """Lets the finders behind it find the package, and is told by its loader; finds nothing itself."""

    def __init__(self, package: str, then: Callable[[], object]) -> None:
        self._package = package
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the others find, for the package; None for everything else."""
        finders = list(sys.meta_path)
        if fullname != self._package or self not in finders:
            return None
        behind = finders[finders.index(self) + 1 :]
        spec = next((spec for finder in behind if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_tell(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self._then()

            spec.loader.exec_module = load_and_tell  # type: ignore[method-assign]  # a loader serves one module
        return spec


def on_arrival(package: str, then: Callable[[], object]) -> None:
    """Call `then` once the top-level package `package` is imported: now, if it is already, or right after it is."""
    if package in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _Watcher(package, then))
