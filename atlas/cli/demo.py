"""`atlas demo`: stores real NetCDF files, reads them back and plots them; prints each step as a command line."""

from __future__ import annotations

import importlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from atlas import Atlas
from atlas.cli.formatting import count_text, size_text
from atlas.cli.store_output import ls_lines, show_lines
from atlas.errors import StorageError, StoreExistsError
from atlas.ingest import check_netcdf
from atlas.runtime.installation import missing_extra

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["draw_months", "run_demo"]


def _import_optional(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra("demo", f"the demo needs {module.partition('.')[0]}", module) from error


def run_demo(folder: Path | None) -> None:
    """Run the demo in `folder`, which must not hold the store of an earlier run; None makes a temporary folder.

    Raises `MissingExtraError` where the extra `demo` is not installed, `AtlasError` if a file is not stored.
    """
    samples = Path(_import_optional("iris_sample_data").path)
    _import_optional("matplotlib")
    check_netcdf()
    try:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="atlas-demo-"))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            error.errno, f"the demo folder cannot be created: {error.strerror}; give another one with --to", str(folder)
        ) from error
    path = folder / "store"

    _step(f"atlas create {samples} {path}")
    begun = time.perf_counter()
    try:
        store = Atlas.create(path)
    except StoreExistsError as error:
        raise StoreExistsError(f"a store already exists at {path}; give another folder with --to") from error
    report = store.add_many(samples)
    found = store.describe()
    click.echo(
        f"stored {count_text(report.count('stored'), 'dataset')} in {time.perf_counter() - begun:.1f} s "
        f"(a first run compiles the kernels): {size_text(found.raw)} of arrays in {size_text(found.stored)} on disk"
    )

    store = Atlas.open(path)
    _step(f"atlas ls --long {path}")
    for line in ls_lines(store, store.list_datasets(), long=True):
        click.echo(line)

    months = [name for name in store.list_datasets() if "nemo_1m" in name]
    _step(f"atlas show {path} {months[0]}")
    for line in show_lines(store.open_dataset(months[0])):
        click.echo(line)

    _step(f'Atlas.open("{path}").read_array_across_stacked("tos", months)')
    click.echo("(the first two reads on a machine compile kernels: the second keeps what it reads in memory)")
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        cells = store.read_array_across_stacked("tos", months)
        seconds.append(time.perf_counter() - begun)
    click.echo(
        f"{cells.dtype} {cells.shape}, {size_text(cells.nbytes)}, in {seconds[-1] * 1e3:.1f} ms "
        f"({seconds[0]:.2f} s the first time)"
    )
    for name, month in zip(months, cells, strict=True):
        click.echo(f"  {_title(name)}: {np.nanmin(month):6.2f} to {np.nanmax(month):5.2f} °C")

    view = store.open_dataset(months[0])
    picture = folder / "nemo_months.png"
    latitude, longitude = view.read_array("nav_lat"), view.read_array("nav_lon")
    assert latitude is not None
    assert longitude is not None
    draw_months(picture, [_title(name) for name in months], cells[:, 0], latitude, longitude)
    click.echo(f"\nThe picture is {picture}\nThe store is   {path}")


def _step(command: str) -> None:
    click.echo(("" if command.startswith("atlas create") else "\n") + click.style(f"$ {command}", bold=True))


def _title(name: str) -> str:
    """Return `2015-01` of `NEMO.nemo_1m_20150101-20150201_grid-T`."""
    digits = name.split("nemo_1m_")[1]
    return f"{digits[:4]}-{digits[4:6]}"


def draw_months(
    path: Path,
    titles: list[str],
    months: NDArray[np.float32],
    latitude: NDArray[np.float32],
    longitude: NDArray[np.float32],
) -> None:
    """Plot the first three months of sea surface temperature, and the last month minus the first.

    `months` is (n, y, x) in °C, NaN on land; `latitude` and `longitude` are (y, x) in degrees, of any grid.
    """
    figure = _import_optional("matplotlib.figure").Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for ax, title, month in zip(axes, titles, months[:3], strict=False):
        image = _draw(ax, title, longitude, latitude, month, {"cmap": "turbo", "vmin": -2, "vmax": 32})
    figure.colorbar(image, ax=axes[1], label="sea surface temperature (°C)")
    change = months[-1] - months[0]
    scale = {"cmap": "RdBu_r", "vmin": -6, "vmax": 6}
    image = _draw(axes[3], f"{titles[-1]} minus {titles[0]}", longitude, latitude, change, scale)
    figure.colorbar(image, ax=axes[3], label="change (°C)")
    figure.supxlabel("longitude (°)", fontsize="medium")
    figure.supylabel("latitude (°)", fontsize="medium")
    canvas = _import_optional("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    figure.set_dpi(110)
    canvas.draw()
    image = _import_optional("PIL.Image")
    pixels = image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    # A palette takes a quarter of the bytes; this one changes no colour by more than 8 of 256 steps.
    pixels.quantize(256, method=image.Quantize.MAXCOVERAGE, kmeans=8).save(path, optimize=True)


def _draw(
    ax: Any,
    title: str,
    longitude: NDArray[np.float32],
    latitude: NDArray[np.float32],
    cells: NDArray[np.float32],
    scale: dict[str, Any],
) -> Any:
    ocean = np.isfinite(cells)
    # Grid cells get wider, in degrees, towards the poles.
    size = 1.6 / np.clip(np.cos(np.deg2rad(latitude[ocean])), 0.12, 1)
    image = ax.scatter(longitude[ocean], latitude[ocean], c=cells[ocean], s=size, marker="s", linewidths=0, **scale)
    ax.set(title=title, xlim=(-180, 180), ylim=(-80, 90), xticks=range(-180, 181, 60), yticks=range(-60, 91, 30))
    ax.set_facecolor("0.85")
    return image
