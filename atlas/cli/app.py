"""The commands and their options. Errors of the library end in one line on stderr and an exit code of 1."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

import atlas.xarray
from atlas import Atlas, __version__, verify
from atlas.cli.demo import run_demo
from atlas.cli.ingest import SUFFIXES, Reading, find_files, ingest
from atlas.cli.layout import count_text, size_text
from atlas.cli.listing import history_lines, info_lines, ls_lines, show_lines
from atlas.cli.verify import report_json, report_lines
from atlas.errors import AtlasError, DatasetNotFoundError, StoreExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from atlas.cli.ingest import Outcome

__all__ = ["main"]


class _Commands(click.Group):
    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; an output that cannot be written ends it in one line (click is quiet about broken pipes)."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            # What is still buffered would fail once more when the interpreter ends.
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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="atlas", message="%(prog)s %(version)s")
def main() -> None:
    """Keep many datasets that look alike in one store, and read across them."""


def _parse_chunks(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    chunks = {}
    for value in values:
        dim, _sign, length = value.rpartition("=")
        if not dim or not length.isdecimal() or int(length) < 1:
            raise click.BadParameter(f"{value!r} is not DIM=LENGTH, such as time=24")
        chunks[dim] = int(length)
    return chunks


def _check_folder(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and "://" in value:
        raise click.BadParameter(f"{value!r} is a URL; the command line opens folders, Python also obstore handles")
    return value


_store = click.argument("store", metavar="STORE", callback=_check_folder)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_store
@click.option("--append", is_flag=True, help="Add to a store that is there; datasets it has already are left alone.")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there, with all it holds.")
@click.option("--codec", default="zstd", show_default=True, help="zstd, lz4 or none.")
@click.option("--filter", default="auto", show_default=True, help="auto, none, byteshuffle or bitshuffle.")
@click.option(
    "--chunk",
    "chunks",
    multiple=True,
    metavar="DIM=LENGTH",
    callback=_parse_chunks,
    help="Length of chunks along a dimension, by default all of it; may be given several times. "
    "Variables over 64 MiB are cut in any case.",
)
@click.option("--drop", multiple=True, metavar="VARIABLE", help="Leave a variable out; may be given several times.")
@click.option(
    "--raw",
    is_flag=True,
    help="Keep packed values, missing values and times as they lie in the files; characters become text in any case.",
)
@click.option("--separator", default=".", show_default=True, help="What stands for / in the names of datasets.")
def create(
    folder: Path,
    store: str,
    codec: str,
    filter: str,  # noqa: A002 - the option's name
    separator: str,
    chunks: dict[str, int],
    drop: tuple[str, ...],
    *,
    append: bool,
    overwrite: bool,
    raw: bool,
) -> None:
    """Put every NetCDF file of DIR, and of the folders in it, into STORE.

    Files count by their suffix: .nc, .nc3, .nc4, .cdf or .netcdf, in any case. Each becomes a dataset named by its path
    below DIR, without the suffix and with "." for "/" (see --separator): 2024/jan.nc becomes 2024.jan. A file that
    cannot be read or stored is named with the reason and left out, as are those with groups and those that would share
    a name; the exit code is then 1. Interrupted, the files read so far are stored; go on with --append. Interrupted
    once more while they are written, nothing is.
    """
    if append and overwrite:
        raise click.UsageError("--append keeps what --overwrite removes; give one of them")
    atlas.xarray.check_netcdf()
    files = find_files(folder)
    if not files:
        raise click.ClickException(f"no NetCDF files ({', '.join(sorted(SUFFIXES))}) in {folder}")
    begun = time.perf_counter()
    try:
        target = Atlas.open(store) if append else Atlas.create(store, codec, filter=filter, overwrite=overwrite)
    except StoreExistsError as error:
        raise click.ClickException(
            f"there is a store at {store} already; add to it with --append, or replace it with --overwrite"
        ) from error
    outcome = ingest(target, folder, files, Reading(separator, chunks, drop, raw=raw))
    _report(outcome, len(files), target, time.perf_counter() - begun)


def _report(outcome: Outcome, files: int, store: Atlas, seconds: float) -> None:
    if outcome.lost:
        click.echo("interrupted while the store was written; nothing was stored", err=True)
        raise click.exceptions.Exit(130)
    found = store.describe()
    click.echo(
        f"stored {count_text(outcome.stored, 'dataset')} in {seconds:.1f} s; the store holds {found.datasets:,}: "
        f"{size_text(found.raw)} of arrays in {size_text(found.stored)}"
    )
    left = files - outcome.stored - outcome.present - outcome.failed
    if outcome.interrupted:
        click.echo(f"interrupted with {count_text(left, 'file')} to go; go on with --append", err=True)
        raise click.exceptions.Exit(130)
    if outcome.failed:
        raise click.ClickException(f"{outcome.failed} of {count_text(files, 'file')} not stored")


@main.command("ls")
@_store
@click.argument("pattern", metavar="[PATTERN]", required=False)
@click.option("--long", "-l", is_flag=True, help="With the number of arrays and attributes, and the size in memory.")
def list_(store: str, pattern: str | None, *, long: bool) -> None:
    """List the datasets of STORE, in the order they were created.

    PATTERN, such as 'NEMO*', lists those whose name matches.
    """
    _print(ls_lines(Atlas.open(store), pattern, long=long))


@main.command()
@_store
@click.argument("name", metavar="NAME")
def show(store: str, name: str) -> None:
    """Show dimensions, variables, attributes and statistics of the dataset NAME."""
    _print(show_lines(Atlas.open(store).open_dataset(name)))


@main.command()
@_store
def info(store: str) -> None:
    """Show what STORE is and what each array takes on disk."""
    _print(info_lines(Atlas.open(store)))


@main.command()
@_store
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--compact", is_flag=True, help="Give their space back at once; only the latest version is kept.")
def rm(store: str, names: tuple[str, ...], *, compact: bool) -> None:
    """Remove datasets from STORE: all that are named, or none where one is missing."""
    target = Atlas.open(store)
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if not target.dataset_exists(name)]
    if missing:
        raise DatasetNotFoundError(f"no dataset {', '.join(map(repr, missing))} in {store}; nothing was removed")
    for name in wanted:
        target.delete_dataset(name)
    target.flush()
    if compact:
        target.compact(keep_days=0)
    click.echo(f"removed {count_text(len(wanted), 'dataset')}; {len(target.list_datasets()):,} left")


@main.command()
@_store
def history(store: str) -> None:
    """List the versions of STORE that are kept, oldest first: when and how each came about."""
    _print(history_lines(Atlas.open(store)))


@main.command()
@_store
@click.option("--keep-versions", metavar="N", type=int, default=1, show_default=True, help="Keep the last N versions.")
@click.option(
    "--keep-days",
    metavar="D",
    type=float,
    default=1.0,
    show_default=True,
    help="Keep what was the latest version at some moment of the last D days too.",
)
def compact(store: str, keep_versions: int, keep_days: float) -> None:
    """Gather what small writes and deletions have scattered, and remove what no version needs that is kept.

    --keep-days 0 keeps the latest version alone and gives back all the space there is.
    """
    target = Atlas.open(store)
    reclaimed = target.compact(keep_versions, keep_days)
    first, last = target.history()[0].version, target.version
    kept = f"version {last} is" if first == last else f"versions {first} to {last} are"
    click.echo(f"reclaimed {size_text(reclaimed)}; {kept} kept")


@main.command()
@_store
@click.argument("version", metavar="VERSION", type=int)
@click.option("--message", "-m", metavar="TEXT", help="What is to be said of it in the history.")
def rollback(store: str, version: int, message: str | None) -> None:
    """Make a new version of STORE that holds what VERSION held; nothing of the history is lost."""
    target = Atlas.open(store)
    made = target.rollback(version, message)
    click.echo(
        f"version {made} holds what version {version} held: {count_text(len(target.list_datasets()), 'dataset')}"
    )


@main.command("verify")
@_store
@click.option("--repair", is_flag=True, help="Write a damaged checkpoint anew from the commits; nothing is dropped.")
@click.option(
    "--export", metavar="TARGET", callback=_check_folder, help="Write everything that is whole to a new store there."
)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, and print nothing where all is whole.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_(store: str, export: str | None, *, repair: bool, quiet: bool, as_json: bool) -> None:
    """Read everything of STORE and name each damaged piece.

    Every document, block and chunk is compared with its checksum and its statistics. The store need not open, and
    reads of what is whole go on working. The exit code is 0 where all is whole and 1 where damage was found, mended or
    not.
    """
    report = verify(store, repair=repair, export=export, progress=not quiet)
    if as_json:
        click.echo(report_json(report))
    elif not (quiet and report.ok):
        _print(report_lines(report))
    if not report.ok:
        raise click.exceptions.Exit(1)


@main.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the store and the picture; by default a new temporary one.",
)
def demo(folder: Path | None) -> None:
    """Build a store of real NetCDF files, look into it and draw three months of the ocean.

    The files are those of the package iris-sample-data: pip install "atlas-store[demo]".
    """
    run_demo(folder)
