"""Reports progress, to a function or as a bar on standard error. Imports tqdm only when a bar is first wanted."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from atlas.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Progress", "showing_progress"]

Progress: TypeAlias = "Callable[[int, int], object] | bool | None"
"""A function of (done, total) in bytes, True for a bar on stderr, False or None for neither."""


@contextmanager
def showing_progress(progress: Progress, what: str) -> Iterator[Callable[[int, int], object] | None]:
    """Yield the function of (done, total) bytes to call: `progress` itself, or for True one that moves a bar.

    `what` is shown before the bar, which appears in a terminal only and is removed at the end. None and False yield
    None.

    Raises `InvalidTypeError` where `progress` is none of these.
    """
    if progress is None or progress is False:
        yield None
        return
    if progress is not True:
        if not callable(progress):
            raise InvalidTypeError(
                f"progress is True, or a function of (done, total) bytes, not {type(progress).__name__} {progress!r}"
            )
        yield progress
        return
    from tqdm import tqdm  # noqa: PLC0415 - few calls show a bar

    options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "dynamic_ncols": True}
    with tqdm(desc=what, leave=False, disable=None, **options) as bar:

        def move(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield move
