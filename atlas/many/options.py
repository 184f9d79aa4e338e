"""How datasets are stacked: the options of `Atlas.to_xarray_many`, checked. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.many.combining import check_combine_attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Join", "Missing", "StackOptions"]

Join: TypeAlias = Literal["exact", "outer", "inner", "override"]
"""What becomes of labels of an axis that differ between datasets."""
Missing: TypeAlias = Literal["raise", "fill", "drop"]
"""What becomes of a variable that some datasets lack."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How datasets are stacked, see `Atlas.to_xarray_many`."""

    concat_dim: str = "dataset"
    """Name of the new dimension."""
    variables: tuple[str, ...] | None = None
    """The variables to take, None for all."""
    join: Join | None = None
    """What becomes of labels that differ; None keeps those of each dataset."""
    tolerance: float | None = None
    """Largest difference of numbers of coordinates that count as equal."""
    missing: Missing = "raise"
    """What becomes of variables that some datasets lack."""
    combine_attrs: str | Callable[..., Any] = "drop_conflicts"
    """What becomes of other attributes that differ."""

    def __post_init__(self) -> None:
        """Refuse what is no option."""
        if not isinstance(self.concat_dim, str):
            raise InvalidTypeError(
                f"concat_dim is the name of the new dimension, not {self.concat_dim!r}; write 'dataset'"
            )
        for name, value, known in (
            ("join", self.join, (None, "exact", "outer", "inner", "override")),
            ("missing", self.missing, ("raise", "fill", "drop")),
        ):
            if not isinstance(value, str | None) or value not in known:
                raise InvalidValueError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")
        if self.tolerance is not None and not (
            isinstance(self.tolerance, int | float | np.integer | np.floating) and self.tolerance >= 0
        ):
            raise InvalidValueError(f"tolerance is a number from 0 on, not {self.tolerance!r}")
        check_combine_attrs(self.combine_attrs)
