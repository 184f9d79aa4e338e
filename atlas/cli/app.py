"""The commands and their options. An error of the library is one line on stderr and exit code 1, never a traceback."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas import Atlas, __version__, verify
from atlas.cli.arguments import check_folder, store_argument
from atlas.cli.demo import run_demo
from atlas.cli.formatting import count_text, size_text
from atlas.cli.ingest_commands import add, create
from atlas.cli.maintenance_output import compact_line, held_after_compact_lines, held_after_rm_lines
from atlas.cli.store_output import by_size, history_lines, info_lines, ls_lines, show_lines
from atlas.cli.verify_output import report_json, report_lines
from atlas.cli.warmup import warm_up
from atlas.errors import AtlasError, DatasetNotFoundError
from atlas.format.names import matching_names
from atlas.runtime.installation import install_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


__all__ = ["main"]

_TERMINAL_LINES = 50
"""Datasets, arrays or versions that a terminal shows without --limit; other outputs show all."""


class _Commands(click.Group):
    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; a failed write to stdout ends it with one line (click itself ignores broken pipes)."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            # Without this, flushing the buffered output at exit would fail once more.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            with suppress(OSError):
                what = "standard output" if error.filename is None else error.filename
                click.echo(f"Error: {what}: {error.strerror or error}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; show errors of the library without their traceback."""
        try:
            return super().invoke(ctx)
        except AtlasError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _note(lines: Iterable[str]) -> None:
    """Print to stderr what is not part of the result."""
    for line in lines:
        click.echo(line, err=True)


def _note_cut(hidden: int, what: str) -> None:
    if hidden:
        _note([f"… {what}; --limit 0 shows all"])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="atlas", message="%(prog)s %(version)s")
def main() -> None:
    """Store many similar datasets together and read one variable across all.

    STORE is the folder of a store. `atlas COMMAND --help` explains a command.
    """


def _default_limit(_: click.Context, __: click.Parameter, value: int | None) -> int:
    """Return how many entries to show; 0 for all."""
    return value if value is not None else _TERMINAL_LINES if sys.stdout.isatty() else 0


_limit = click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    callback=_default_limit,
    help=f"Show at most N; 0 shows all. Default: {_TERMINAL_LINES} in a terminal, else all.",
)


main.add_command(create)
main.add_command(add)


@main.command("ls")
@store_argument
@click.argument("pattern", metavar="[PATTERN]", required=False)
@click.option(
    "--long", "-l", is_flag=True, help="Also show the number of arrays and attributes, and the uncompressed size."
)
@_limit
def list_(store: str, pattern: str | None, limit: int, *, long: bool) -> None:
    """List the datasets of STORE in order of creation.

    With PATTERN, a shell pattern such as 'NEMO*', list only the datasets whose name matches.
    """
    target = Atlas.open(store)
    names = target.list_datasets()
    found = names if pattern is None else matching_names(names, pattern)
    shown = found[: limit or None]
    _print(ls_lines(target, shown, long=long))
    hidden = len(found) - len(shown)
    _note_cut(hidden, f"and {hidden:,} more")
    if not names:
        _note(["the store has no datasets"])
    elif not found:
        _note([f"no dataset matches {pattern!r}; the store has {count_text(len(names), 'dataset')}"])


@main.command()
@store_argument
@click.argument("name", metavar="NAME")
def show(store: str, name: str) -> None:
    """Show the contents and statistics of one dataset.

    Prints the dimensions, variables, attributes and statistics of the dataset NAME, in the style of ncdump.
    """
    _print(show_lines(Atlas.open(store).open_dataset(name)))


@main.command()
@store_argument
@_limit
def info(store: str, limit: int) -> None:
    """Show a summary of STORE and the size of each array.

    An array here is one array name over all datasets. "files" counts its segment files, "raw" is its uncompressed size.
    Arrays that take most bytes on disk come first; --limit leaves out the smallest.
    """
    found = Atlas.open(store).describe()
    arrays = by_size(found)
    shown = arrays[: limit or None]
    _print(info_lines(found, shown))
    rest = arrays[len(shown) :]
    _note_cut(len(rest), f"and {len(rest):,} more, with {size_text(sum(array.stored for array in rest))} on disk")


@main.command()
@store_argument
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--compact", is_flag=True, help="Free the disk space at once; this removes all earlier versions.")
def rm(store: str, names: tuple[str, ...], *, compact: bool) -> None:
    """Remove datasets from STORE.

    Removes all the datasets named, or none if one of them is missing. Earlier versions still have them, and
    `atlas rollback` restores them, until `atlas compact` removes those versions.
    """
    target = Atlas.open(store)
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if not target.dataset_exists(name)]
    if missing:
        raise DatasetNotFoundError(
            f"{store} has no dataset {', '.join(map(repr, missing))}; nothing was removed (`atlas ls` lists the names)"
        )
    for name in wanted:
        target.delete_dataset(name)
    target.flush()
    click.echo(f"removed {count_text(len(wanted), 'dataset')}; {len(target.list_datasets()):,} left")
    if compact:
        _compact(store, target, 1, 0)
        return
    try:
        held = target.describe().held
    except AtlasError:
        held = None  # the datasets are removed, even if the store is damaged elsewhere
    _note(held_after_rm_lines(store, held))


@main.command()
@store_argument
@_limit
def history(store: str, limit: int) -> None:
    """List the versions that STORE keeps, oldest first.

    Shows when each version was committed, by which operation, and what changed. --limit leaves out the oldest,
    and of each version the names of arrays after the eighth.
    """
    versions = Atlas.open(store).history()
    shown = versions[-limit:]
    hidden = len(versions) - len(shown)
    _note_cut(hidden, count_text(hidden, "earlier version"))
    _print(history_lines(shown, all_arrays=not limit))


@main.command()
@store_argument
@click.option(
    "--keep-versions", metavar="N", type=int, default=1, show_default=True, help="Keep at least the last N versions."
)
@click.option(
    "--keep-days",
    metavar="D",
    type=float,
    help="Also keep the versions that were the latest at any time in the last D days, and none before.",
    show_default="all of the last day, of the last week one an hour, of the last month one a day",
)
def compact(store: str, keep_versions: int, keep_days: float | None) -> None:
    """Merge small files and free the space of old versions.

    Rewrites each array that is spread over several files, or has deleted data, as one file. Then removes the versions
    that are not kept, and the files that no kept version needs. --keep-days 0 keeps only the latest version, and frees
    the most space.
    """
    _compact(store, Atlas.open(store), keep_versions, keep_days)


def _compact(store: str, target: Atlas, keep_versions: int, keep_days: float | None) -> None:
    before = target.describe()
    report = target.compact(keep_versions, keep_days)
    kept = [version.version for version in target.history()]
    click.echo(compact_line(report, before, target.describe(), kept))
    _note(held_after_compact_lines(store, report))


@main.command()
@store_argument
@click.argument("version", metavar="VERSION", type=int)
@click.option("--message", "-m", metavar="TEXT", help="Message to show in the history.")
def rollback(store: str, version: int, message: str | None) -> None:
    """Restore the contents of an earlier version.

    Commits a new version of STORE with the contents of VERSION, a number that `atlas history` lists. The versions in
    between are kept.
    """
    target = Atlas.open(store)
    unchanged = version == target.version
    made = target.rollback(version, message)
    click.echo(
        f"version {made} has the contents of version {version}: {count_text(len(target.list_datasets()), 'dataset')}"
    )
    if unchanged:
        _note([f"nothing changed: version {version} was the latest"])


@main.command("verify")
@store_argument
@click.option("--repair", is_flag=True, help="Rewrite a damaged checkpoint from the commits; drops no data.")
@click.option(
    "--export",
    metavar="TARGET",
    callback=check_folder,
    help="Write all undamaged data to a new store in the folder TARGET.",
)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, and print nothing unless there is damage.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_(store: str, export: str | None, *, repair: bool, quiet: bool, as_json: bool) -> None:
    """Read all of STORE and report what is damaged.

    Checks every document, block and chunk against its checksum and statistics. Works on a store that is too damaged to
    open. The exit code is 0 without damage, and 1 if damage was found, even if it was repaired.
    """
    report = verify(store, repair=repair, export=export, progress=not quiet)
    if as_json:
        click.echo(report_json(report))
    elif not (quiet and report.ok):
        _print(report_lines(report, repair=repair))
    if not report.ok:
        raise click.exceptions.Exit(1)


class _Demo(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - of click
        """Write the command that installs the extra; a backslash before each line break lets it be pasted."""
        command = install_line("demo", "iris-sample-data", "matplotlib", "netCDF4").replace(" '", " \\\n    '")
        formatter.write(f"\n  To install what it needs:\n\n  {command}\n")


@main.command(cls=_Demo)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the store and the picture; default: a new temporary folder.",
)
def demo(folder: Path | None) -> None:
    """Build a store of real NetCDF files and plot from it.

    Uses the files of the package iris-sample-data, and plots three months of sea surface temperature.
    """
    run_demo(folder)


@main.command()
def warmup() -> None:
    """Compile all kernels and keep them on disk.

    A first read otherwise waits some seconds for the compiler. Run it when a machine or a container image is set up, as
    a user who may write to the folder of the package or to NUMBA_CACHE_DIR. Kernels that are kept already are loaded.
    The exit code is 1 if what was compiled cannot be kept.
    """
    click.echo(warm_up())
