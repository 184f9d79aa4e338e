"""Arguments that several commands have."""

from __future__ import annotations

import click

__all__ = ["check_folder", "store_argument"]


def check_folder(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return the folder that was given. Raises `click.BadParameter` for a URL."""
    if value is not None and "://" in value:
        raise click.BadParameter(
            f"{value!r} is a URL, and this command opens folders; open object stores from Python, by obstore handles"
        )
    return value


store_argument = click.argument("store", metavar="STORE", callback=check_folder)
"""The folder of a store."""
