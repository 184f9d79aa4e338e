"""How datasets are made one: the options of `Atlas.to_xarray_many` and `Atlas.open_many`, checked. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.names import check_names
from atlas.many.combining import check_combine_attrs
from atlas.many.windows import check_positions
from atlas.runtime.arguments import check_choice, check_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atlas.many.windows import Positions

__all__ = ["Combine", "FeatureType", "Join", "ManyOptions", "Missing", "StackOptions"]

Join: TypeAlias = Literal["exact", "outer", "inner", "override"]
"""What becomes of labels of an axis that differ between datasets."""
Missing: TypeAlias = Literal["raise", "fill", "drop"]
"""What becomes of a variable that some datasets lack."""
Combine: TypeAlias = Literal["stack", "concat", "ragged"]
"""How many datasets become one."""
FeatureType: TypeAlias = Literal["profile", "timeSeries", "trajectory"]
"""Kinds of discrete sampling geometries of the CF conventions whose contiguous ragged arrays have one count."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How datasets are stacked, see `Atlas.to_xarray_many`."""

    concat_dim: str = "dataset"
    """Name of the new dimension."""
    variables: Sequence[str] | None = None
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
        if self.variables is not None:  # an iterator gives its names once
            object.__setattr__(self, "variables", tuple(check_names("variables", self.variables)))
        if not isinstance(self.concat_dim, str):
            raise InvalidTypeError(
                f"concat_dim is the name of the new dimension, not {self.concat_dim!r}; write 'dataset'"
            )
        check_choice("join", self.join, (None, "exact", "outer", "inner", "override"))
        check_choice("missing", self.missing, ("raise", "fill", "drop"))
        if self.tolerance is not None and not (
            isinstance(self.tolerance, int | float | np.integer | np.floating) and self.tolerance >= 0
        ):
            raise InvalidValueError(f"tolerance is a number from 0 on, not {self.tolerance!r}")
        check_combine_attrs(self.combine_attrs)


@dataclass(frozen=True, slots=True)
class ManyOptions:
    """How datasets are opened as one, see `Atlas.open_many`."""

    combine: Combine = "stack"
    """How they become one."""
    dim: str | None = None
    """Name of the new dimension of a stack, else the dimension along which datasets follow one another."""
    variables: Sequence[str] | None = None
    """The variables to take, None for all."""
    isel: Positions | None = None
    """What is taken of each dataset, by dimension."""
    attributes: Sequence[str] | bool = False
    """The attributes that become variables."""
    missing: Missing = "raise"
    """What becomes of variables that some datasets lack."""
    join: Join | None = None
    """What becomes of labels of an axis that differ."""
    combine_attrs: str | Callable[..., Any] = "drop_conflicts"
    """What becomes of other attributes that differ."""
    sort: bool = True
    """Whether datasets that are concatenated are put in the order of their labels."""
    feature_type: FeatureType | None = None
    """Kind of discrete sampling geometry of a ragged result."""

    def __post_init__(self) -> None:
        """Refuse what is no option."""
        if self.variables is not None:  # an iterator gives its names once
            object.__setattr__(self, "variables", tuple(check_names("variables", self.variables)))
        if not isinstance(self.attributes, bool):
            object.__setattr__(self, "attributes", tuple(check_names("attributes", self.attributes)))
        check_positions(self.isel)
        aligns = isinstance(self.join, str) and self.join in ("outer", "inner")
        check_choice("combine", self.combine, ("stack", "concat", "ragged"))
        check_choice("feature_type", self.feature_type, (None, "profile", "timeSeries", "trajectory"))
        more = "; to_xarray_many() aligns labels" if aligns else ""
        check_choice("join", self.join, (None, "exact", "override"), more)
        if not isinstance(self.dim, str | None):
            raise InvalidTypeError(f"dim is the name of a dimension, not {self.dim!r}; write 'dataset'")
        if self.feature_type is not None and self.combine != "ragged":
            raise InvalidValueError(
                f"feature_type={self.feature_type!r} describes ragged arrays; use it with combine='ragged'"
            )
        if self.attributes and self.combine == "concat":
            raise InvalidValueError(
                f"attributes={self.attributes!r} become variables along the dimension of the datasets, and "
                "combine='concat' makes none; use it with combine='stack' or 'ragged', or attributes_across()"
            )
        check_flag("sort", self.sort)
        _ = self.stack

    @property
    def new_dim(self) -> str:
        """Name of the new dimension, that of the datasets."""
        return self.dim if self.dim is not None and self.combine == "stack" else "dataset"

    @property
    def stack(self) -> StackOptions:
        """How what is stacked is stacked."""
        return StackOptions(self.new_dim, self.variables, self.join, None, self.missing, self.combine_attrs)
