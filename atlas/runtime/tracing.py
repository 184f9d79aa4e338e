"""`init_tracing` logs to stderr what the package does. Every module logs under the logger "atlas".

Changes no logger but "atlas" and those that the caller names, and writes no files.
"""

from __future__ import annotations

import logging
import sys

from atlas.errors import InvalidTypeError, InvalidValueError

__all__ = ["init_tracing"]

_LEVELS = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "off": 100}


def init_tracing(filter: str | None = None) -> None:  # noqa: A002 - the published name
    """Log to stderr what the package does. Calling it again changes the levels.

    Parameters
    ----------
    filter : str, optional
        A level ("trace", "debug", "info", "warn", "error", "off"), or several directives `logger=level` joined by
        commas, such as "info,atlas.commit=debug"; "info" without it.

    Raises
    ------
    InvalidValueError
        (ValueError) for an unknown level.
    InvalidTypeError
        (TypeError) for a filter that is no str.

    """
    if filter is not None and not isinstance(filter, str):
        raise InvalidTypeError(f"filter is a str, not {type(filter).__name__} {filter!r}")
    levels: dict[str, int] = {}
    for directive in (filter or "info").split(","):
        name, _, level = directive.strip().rpartition("=")
        if level.strip().lower() not in _LEVELS:
            raise InvalidValueError(f"unknown level {level!r} in {filter!r}; use one of {', '.join(_LEVELS)}")
        levels[name.strip() or "atlas"] = _LEVELS[level.strip().lower()]
    logger = logging.getLogger("atlas")
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__(sys.stderr)
