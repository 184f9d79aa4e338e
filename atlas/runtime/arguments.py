"""Checks of arguments that many calls have: one of some texts, in one case or any, True or False. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["check_choice", "check_flag", "parse_choice"]


def check_choice(name: str, value: object, known: Collection[str | None], remedy: str = "") -> None:
    """Raise `InvalidValueError` where the argument `name` is none of the known texts; `remedy` ends the message."""
    if not isinstance(value, str | None) or value not in known:
        raise InvalidValueError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}{remedy}")


def check_flag(name: str, value: object) -> None:
    """Raise `InvalidTypeError` where the argument `name` is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidTypeError(f"{name} is True or False, not {type(value).__name__} {value!r}")


def parse_choice(what: str, value: object, choices: Mapping[str, str]) -> str:
    """Return the option that `value` names, in any case; `choices` maps names to options.

    Raises `InvalidTypeError` for what is no text, and `InvalidValueError` for an unknown name.
    """
    remedy = f"use one of {', '.join(choices)}"
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} must be a str, not {type(value).__name__} {value!r}; {remedy}")
    if value.lower() not in choices:
        raise InvalidValueError(f"unknown {what} {value!r}; {remedy}")
    return choices[value.lower()]
