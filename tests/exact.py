"""Sets attributes by their exact keys, as `add_xr_dataset` does; markers that users cannot set, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.format.attributes import encode_value

if TYPE_CHECKING:
    from atlas import DatasetView
    from atlas.format.attributes import AttributeKey


def set_exact_attribute(view: DatasetView, key: AttributeKey, value: object) -> None:
    view._session.writer.set_attribute(view.name, key, encode_value(value))
