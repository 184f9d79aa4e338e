"""Hypothesis profiles, the limits of `tests/limits.py`, and fixtures that every folder may use.

`ATLAS_TEST_PROFILE` selects the profile: "fast" (the default), "long" (hours of examples, and the slow and long tests
too) or "debug" (prints every step).
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings

from atlas import Atlas
from tests.distributions import built_metadata
from tests.limits import pytest_configure, pytest_timeout_cancel_timer, pytest_timeout_set_timer
from tests.servers import azure_endpoint, s3_endpoint

__all__ = [
    "azure_endpoint",
    "built_metadata",
    "pytest_configure",
    "pytest_timeout_cancel_timer",
    "pytest_timeout_set_timer",
    "s3_endpoint",
]

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
settings.register_profile(
    "fast",
    deadline=None,
    max_examples=100,
    stateful_step_count=30,
    suppress_health_check=_SLOW,
    derandomize=True,
    report_multiple_bugs=False,
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=2000,
    stateful_step_count=50,
    suppress_health_check=_SLOW,
    print_blob=True,
    report_multiple_bugs=False,
)
settings.register_profile(
    "debug",
    parent=settings.get_profile("fast"),
    max_examples=10,
    verbosity=Verbosity.verbose,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("ATLAS_TEST_PROFILE", "fast"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `slow` or `long` unless `-m` or the profile asks for them."""
    if config.getoption("markexpr") or os.environ.get("ATLAS_TEST_PROFILE") == "long":
        return
    left_out = [item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def keyboard():
    """Ctrl-C raises, also where the tests run in the background of a shell, which has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def place(tmp_path):
    """Where a local store may be made."""
    return tmp_path / "store"


@pytest.fixture
def store(place):
    """An empty local store."""
    return Atlas.create(place)
