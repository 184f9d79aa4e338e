"""The faults of `tests.reliability.faults` before a real S3 server."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.reliability.faults import SCENARIOS, Figures, World, handle_world, run_world
from tests.servers import running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(full: bool) -> dict[str, int]:
    """Run every scenario in a bucket of moto's."""
    figures = Figures()
    with running_s3() as endpoint:
        bucket = endpoint.make_bucket("faults")

        @contextmanager
        def s3_world() -> Iterator[World]:
            yield handle_world(endpoint.open_store(bucket, prefix=uuid.uuid4().hex))

        run_world(s3_world, figures, every=1 if full else 29, scenarios=SCENARIOS if full else SCENARIOS[:3])
    return figures.told()
