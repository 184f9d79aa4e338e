"""`atlas create` and `atlas add`: files become datasets of a store."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from atlas import Atlas
from atlas.cli.arguments import store_argument
from atlas.cli.formatting import count_text, size_text
from atlas.cli.ingest_output import ReportPrinter, note, note_passed_over, note_unused_options
from atlas.errors import CorruptStoreError, StorageError, StoreExistsError, StoreNotFoundError, UnsupportedFormatError
from atlas.ingest import SUFFIXES, IngestInterruptedError, IngestOptions, check_report_file, find_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TextIO

    from atlas.format.block_types import Codec, Filter
    from atlas.ingest import IngestReport

__all__ = ["add", "create"]


def _parse_chunks(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    chunks = {}
    for value in values:
        dim, _sign, length = value.rpartition("=")
        if not dim or not length.isdecimal() or int(length) < 1:
            raise click.BadParameter(f"{value!r} is not DIM=LENGTH with a length of 1 or more, such as time=24")
        chunks[dim] = int(length)
    return chunks


def _reading(command: Any) -> Any:
    """Give a command the options of reading files."""
    options = [
        click.option(
            "--chunk",
            "chunks",
            multiple=True,
            metavar="DIM=LENGTH",
            callback=_parse_chunks,
            help="Length of chunks along one dimension; default: the whole dimension. Repeat it for other dimensions. "
            "Variables larger than 64 MiB without this option get chunks of about 64 MiB.",
        ),
        click.option("--drop", multiple=True, metavar="VARIABLE", help="Leave out a variable; repeat it for others."),
        click.option(
            "--raw",
            is_flag=True,
            help="Do not decode: keep packed values, missing values and times as in the files. Character arrays always "
            "become strings.",
        ),
        click.option(
            "--engine",
            metavar="NAME",
            help="The engine of xarray that reads all files, such as h5netcdf or cfgrib; default: netCDF4, and zarr "
            "for Zarr stores.",
        ),
        click.option("--separator", default=".", show_default=True, help="Text that replaces / in dataset names."),
        click.option("--prefix", default="", metavar="TEXT", help="Text before each dataset name."),
        click.option(
            "--pattern",
            metavar="PATTERN",
            help="Shell pattern for the names of files in folders, such as 'wrfout_*'; default: files that end in "
            f"{', '.join(sorted(SUFFIXES))}, and Zarr stores.",
        ),
        click.option("--follow", is_flag=True, help="Search folders that links lead to."),
        click.option(
            "--if-exists",
            type=click.Choice(["error", "skip", "replace", "update"]),
            default="error",
            show_default=True,
            help="What to do with a file whose name the store has, but not as the file is now. update replaces a "
            "dataset that came from the same file, replace one from anywhere.",
        ),
        click.option(
            "--update", is_flag=True, help="Short for --if-exists update: store files anew that have changed since."
        ),
        click.option(
            "--on-unsupported",
            type=click.Choice(["raise", "drop", "raw"]),
            default="raise",
            show_default=True,
            help="Whether a variable that is not stored fails its file or is left out (drop), and one that cannot be "
            "decoded keeps the cells of its file (raw).",
        ),
        click.option(
            "--split",
            metavar="DIM",
            help="Make a dataset of each position along a dimension, such as the stations of a file.",
        ),
        click.option(
            "--split-by",
            metavar="VARIABLE",
            help="Make a dataset of each value of a variable, such as PLATFORM_NUMBER of Argo's profiles.",
        ),
        click.option(
            "--groups",
            type=click.Choice(["refuse", "flatten"]),
            default="refuse",
            show_default=True,
            help="Whether a NetCDF file with groups fails, or is stored with names such as GROUP__VARIABLE.",
        ),
        click.option(
            "--encoding",
            type=click.Choice(["keep", "drop"]),
            default="keep",
            show_default=True,
            help="Whether datasets keep how their files pack, compress and chunk variables.",
        ),
        click.option("--flush-every", default="5 min", show_default=True, help="How much to add between two commits."),
        click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Reading processes."),
        click.option(
            "--timeout", type=float, default=600.0, show_default=True, help="Seconds that reading a file may take."
        ),
        click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as JSON."),
        click.option(
            "--log-file",
            type=click.File("a", encoding="utf-8", errors="backslashreplace", lazy=False),
            help="Append a line for each file as it goes: time, status, dataset, source, reason.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _settle_update(reading: dict[str, Any]) -> None:
    """Take --update for what it is short for."""
    if not reading.pop("update"):
        return
    given = click.get_current_context().get_parameter_source("if_exists") is not ParameterSource.DEFAULT
    if given and reading["if_exists"] != "update":
        raise click.UsageError(
            f"--update is short for --if-exists update, and --if-exists {reading['if_exists']} says otherwise; give "
            "only one of them"
        )
    reading["if_exists"] = "update"


_codec = click.option("--codec", default="zstd", show_default=True, help="Compression: zstd, lz4 or none.")
_filter = click.option(
    "--filter",
    default="auto",
    show_default=True,
    help="Filter before compression: auto, none, byteshuffle, bitshuffle, decimal, delta or decimaldelta.",
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@store_argument
@click.option("--append", is_flag=True, help="Add to an existing store; files that it has already are skipped.")
@click.option("--overwrite", is_flag=True, help="Replace everything in an existing store, once all files are read.")
@_codec
@_filter
@_reading
def create(
    folder: Path,
    store: str,
    codec: Codec,
    filter: Filter,  # noqa: A002 - the option's name
    *,
    append: bool,
    overwrite: bool,
    **reading: Any,
) -> None:
    """Add the NetCDF files in DIR and its subfolders to a new STORE.

    Each file becomes one dataset, named by its path within DIR without the suffix, with "." for "/" (see --separator):
    2024/jan.nc becomes 2024.jan.

    A file that cannot be read or stored is reported on stderr and skipped, and the exit code is 1. Files are read in
    processes of their own, which a damaged one may end. What was read is committed as it goes, early at first: after an
    interrupt, a crash or a full disk, run the command again with --append for the rest.
    """
    if append and overwrite:
        raise click.UsageError("--append adds to the store and --overwrite replaces it; give only one of them")
    _settle_update(reading)
    _check_sources([str(folder)], **reading)
    try:
        target = Atlas.open(store) if append else Atlas.create(store, codec, filter=filter)
    except StoreExistsError as error:
        if not overwrite:
            raise click.ClickException(
                f"a store already exists at {store}; add to it with --append, or replace it with --overwrite"
            ) from error
        target = _open_to_replace(store, codec, filter)
    else:
        overwrite = False
    if append or overwrite:
        _warn_of_kept_encoding(target)
    _ingest(target, [str(folder)], overwrite=overwrite, **reading)


def _open_to_replace(store: str, codec: Codec, filter_: Filter) -> Atlas:
    """Open a store whose datasets will be replaced; one that cannot be read is replaced at once."""
    try:
        return Atlas.open(store)
    except (CorruptStoreError, UnsupportedFormatError):
        return Atlas.create(store, codec, filter=filter_, overwrite=True)


@click.command()
@click.argument("sources", metavar="SOURCES...", nargs=-1, required=True)
@store_argument
@_codec
@_filter
@_reading
def add(
    sources: tuple[str, ...],
    store: str,
    codec: Codec,
    filter: Filter,  # noqa: A002 - the option's name
    **reading: Any,
) -> None:
    """Add NetCDF files and folders of them to STORE.

    STORE is made if it is missing.

    SOURCES are folders, which are searched with what is below them, files, quoted patterns such as 'data/*.nc', and
    URLs (https, http, s3), with / at the end for all files below. As for `atlas create`, each file becomes one dataset;
    files that the store has already, unchanged, are skipped. With --update those that have changed since replace their
    datasets.
    """
    _settle_update(reading)
    _check_sources(sources, **reading)
    try:
        target = Atlas.open(store)
    except StoreNotFoundError:
        target = Atlas.create(store, codec, filter=filter)
    else:
        _warn_of_kept_encoding(target)
    _ingest(target, sources, **reading)


def _check_sources(
    sources: Sequence[str], *, pattern: str | None, follow: bool, engine: str | None, **reading: Any
) -> None:
    """Refuse options that are wrong, and what names no file, before a store is made."""
    options = {name: value for name, value in reading.items() if name in IngestOptions.__slots__}
    IngestOptions(**options, seconds=reading["timeout"])
    check_report_file(reading["report"])
    found = find_files(sources, pattern=pattern, follow_links=follow, engine=engine)
    if not found.files:
        for folder, reason in found.unreadable:
            note(f"not read: the folder {folder}: {reason}")
        wanted = f"match {pattern!r}" if pattern else f"end in {', '.join(sorted(SUFFIXES))}; --pattern chooses others"
        raise click.ClickException(
            f"no {'' if pattern else 'NetCDF '}files in {', '.join(sources)} and subfolders, which {wanted}"
        )


def _ingest(
    store: Atlas,
    sources: Sequence[str],
    *,
    separator: str,
    prefix: str,
    log_file: TextIO | None,
    **reading: Any,
) -> None:
    """Add sources to a store, and print and write what became of them; ends with the exit code."""
    begun = time.perf_counter()
    chunks, drop = reading["chunks"], reading["drop"]
    stopped = None
    with closing(ReportPrinter(log_file)) as printer, _terminable() as check_terminated:

        def progress(so_far: IngestReport) -> None:
            printer(so_far)
            check_terminated()

        try:
            found = store.add_many(
                sources,
                names=lambda file: prefix + separator.join(file.parts),
                follow_links=reading.pop("follow"),
                on_error="skip",
                progress=progress,
                **reading,
            )
        except IngestInterruptedError as error:
            _note_what_came_with(error)
            found, stopped = error.report, error.__cause__
        except StorageError as error:
            _note_what_came_with(error)
            kept = len(Atlas.open(store.describe().location).list_datasets())
            raise click.ClickException(
                f"{error}; the store has {count_text(kept, 'dataset')}. Once the cause is gone, run it again (create: "
                "with --append): it goes on"
            ) from error
    note_passed_over(found)
    if stopped is None:
        note_unused_options(found, chunks, drop)
    _summarize(found, store, time.perf_counter() - begun, stopped)


def _note_what_came_with(error: BaseException) -> None:
    """Print the notes of an error, such as that the report could not be written either."""
    for text in getattr(error, "__notes__", ()):
        note(f"Warning: {text}")


class _TerminatedError(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM."""


@contextmanager
def _terminable() -> Iterator[Callable[[], None]]:
    """Let SIGTERM interrupt like Ctrl-C, so that what was read is stored; yields what raises it again.

    Python drops what a signal raises while an object is finalized, so that the interrupt has to be looked for too.
    """
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        raise _TerminatedError

    def check() -> None:
        if asked:
            raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield check
    finally:
        signal.signal(signal.SIGTERM, before)


def _warn_of_kept_encoding(store: Atlas) -> None:
    """Warn about a codec or filter that was asked for and is not that of the store, which keeps its own."""
    found = store.describe()
    context = click.get_current_context()
    for option, kept in (("codec", found.codec), ("filter", found.filter)):
        given = context.get_parameter_source(option) is not ParameterSource.DEFAULT
        if given and context.params[option] != kept:
            note(f"Warning: --{option} {context.params[option]} had no effect: the store has {option} {kept}")


def _summarize(report: IngestReport, store: Atlas, seconds: float, stopped: BaseException | None) -> None:
    found = store.describe()
    sizes = f"{size_text(found.raw)} of arrays in {size_text(found.stored)} on disk"
    if report.sources and report.count("present") == report.sources:
        click.echo(f"nothing new to store; the store has {count_text(found.datasets, 'dataset')}: {sizes}")
        return
    updated = f", updated {report.count('updated'):,}" if report.count("updated") else ""
    stored = f"stored {count_text(report.count('stored'), 'dataset')}{updated} in {seconds:.1f} s"
    click.echo(f"{stored}; the store now has {found.datasets:,}: {sizes}")
    if stopped is not None:
        left = report.sources - len(report.results)
        click.echo(f"interrupted with {count_text(left, 'file')} left; run it again (create: with --append)", err=True)
        raise click.exceptions.Exit(143 if isinstance(stopped, _TerminatedError) else 130)
    failed = len(report.failures)
    if failed or report.unreadable:
        raise click.ClickException(
            f"{failed} of {count_text(report.sources, 'file')} not stored"
            + (f", {count_text(len(report.unreadable), 'folder')} not read" if report.unreadable else "")
            + "; the reasons are above"
        )
