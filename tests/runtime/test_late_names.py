"""Names that load their module on first use."""

from __future__ import annotations

import pytest

import atlas.many
import atlas.xarray


@pytest.mark.parametrize("package", [atlas.many, atlas.xarray])
def test_every_public_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing
