"""The `encoding` of a dataset that is made of many: what theirs have in common. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.errors import CorruptStoreError, InvalidValueError
from atlas.xarray.encoding_record import common_encoding
from atlas.xarray.reading import set_encodings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from atlas.many.plans import Plan
    from atlas.xarray.reading import Encodings

__all__ = ["set_common_encodings"]


def set_common_encodings(ds: xr.Dataset, records: Sequence[tuple[str, object]], plans: Sequence[Plan]) -> None:
    """Set the encodings of a dataset and its variables; decoded variables have none.

    `records` are the encoding records of the datasets, each with the name of one that has it. Raises
    `CorruptStoreError` where one is damaged.
    """
    common: Encodings = {None: _common(records, stacked=False)} if records else {}
    for plan in plans:
        if not plan.decode:
            own = [(part.label, part.encoding) for part in plan.parts]
            variable = ds.variables[plan.name]
            common[plan.name] = _common(own, stacked=variable.dims != plan.dims or variable.shape != plan.first.shape)
    set_encodings(ds, {owner: encoding for owner, encoding in common.items() if encoding})


def _common(records: Sequence[tuple[str, object]], *, stacked: bool) -> dict[str, Any]:
    """Return what the encodings of several datasets, each with its name, have in common."""
    name = records[0][0]
    try:
        distinct = {id(record): (name, record) for name, record in records}
        for name, record in distinct.values():  # noqa: B007 - it is what the error names
            common_encoding([record], stacked=stacked)
        return common_encoding([record for _, record in records], stacked=stacked)
    except InvalidValueError as error:
        raise CorruptStoreError(
            f"an encoding of dataset {name!r} is damaged: {error}; restore the store from a copy, or read the cells "
            "with read_array_across_stacked",
            dataset=name,
        ) from error
