"""Which compiler there is: Numba as we know it, plain Numba or none.

A version of Numba whose insides are not as `numba_internals` knows them costs speed, never results: kernels are then
compiled by `numba.njit` as anyone would, the log says so, and `import atlas` works.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import numba

__all__ = ["INTERNALS", "JIT"]

_logger = logging.getLogger(__name__)

_settings: Any = numba.config  # its attributes are made at run time

JIT: bool = not _settings.DISABLE_JIT
"""False under NUMBA_DISABLE_JIT, where kernels run as plain Python."""


def _minor_version() -> tuple[int, ...]:
    """The first two numbers of Numba's version, (0, 0) where it has none."""
    try:
        return tuple(int(part) for part in numba.__version__.split(".")[:2])
    except ValueError:
        return 0, 0


def _load_internals() -> Any:
    """`numba_internals` where it works with this version of Numba, else None and a warning in the log."""
    try:
        internals = import_module("atlas.kernels.numba_internals")
        if not internals.LOWEST <= _minor_version() <= internals.NEWEST:
            internals.check()
    except Exception as error:  # noqa: BLE001  # what else differs in a version to come is not known
        _logger.warning(
            "atlas does not know the insides of Numba %s (%s: %s): kernels take longer to compile and to load, and "
            "blocks are compressed through the slower Python packages. Results are the same. Install a version of "
            "Numba that this version of atlas was released with.",
            numba.__version__,
            type(error).__name__,
            error,
        )
        return None
    return internals


INTERNALS: Any = _load_internals() if JIT else None
"""The module `numba_internals`, None where it does not work with this version of Numba or nothing is compiled."""
