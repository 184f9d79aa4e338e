"""A file, or a folder that is one, that an engine of xarray has opened, its variables undecoded.

What an engine keeps in encodings that has no text, such as a codec object of zarr, is left out.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import xarray as xr
from xarray.backends import BackendEntrypoint

from atlas.xarray.encoding_record import encode_encoding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


__all__ = ["EngineFile", "open_by_engine"]

_UNDECODED: Final = {"mask_and_scale": False, "decode_times": False, "decode_timedelta": False, "decode_coords": False}


@contextmanager
def open_by_engine(engine: str, path: Path) -> Iterator[EngineFile]:
    """Open a file. Raises what the engine raises."""
    entrypoint = xr.backends.list_engines()[engine]
    # Without "indexpath" cfgrib writes an index beside each file.
    wanted = {**_UNDECODED, "concat_characters": False, "indexpath": ""}
    # An engine of others need not know any of these.
    arguments: dict[str, Any] = {
        name: value for name, value in wanted.items() if name in (entrypoint.open_dataset_parameters or ())
    }
    groups: list[str] = []
    if type(entrypoint).open_groups_as_dict is not BackendEntrypoint.open_groups_as_dict:
        found = entrypoint.open_groups_as_dict(path, **arguments)
        for ds in found.values():
            ds.close()
        groups = [name.strip("/") for name in found if name.strip("/")]
    with xr.open_dataset(path, engine=engine, cache=False, **arguments) as ds:
        yield EngineFile(ds, groups)


class EngineFile:
    """A file that an engine has opened; see `OpenFile`."""

    def __init__(self, ds: xr.Dataset, groups: list[str]) -> None:
        self._ds, self.groups = ds, groups
        self.coords = frozenset(map(str, ds.coords))
        self.lost_attributes = dict[str, str]()

    @property
    def dims(self) -> Collection[str]:
        """Names of its dimensions."""
        return list(map(str, self._ds.dims))

    @property
    def names(self) -> list[str]:
        """Names of its variables."""
        return list(map(str, self._ds.variables))

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""
        return dict(self._ds.attrs)

    @property
    def encoding(self) -> dict[str, Any]:
        """The encoding of the dataset."""
        return _storable(self._ds.encoding)

    def unsupported(self) -> dict[str, str]:
        """Return the names of what is of a dtype that is not stored, with the reasons."""
        dtypes = {name: self._ds.variables[name].dtype for name in self.names}
        return {
            name: f"is of the compound dtype {dtype}, and compound dtypes are not stored"
            for name, dtype in dtypes.items()
            if dtype.kind == "V"
        }

    def open(self, name: str) -> xr.Variable:
        """Return a variable, lazily."""
        found = self._ds.variables[name].to_base_variable()
        found.encoding = _storable(found.encoding)
        return found


def _storable(encoding: Any) -> dict[str, Any]:
    _, lost = encode_encoding(encoding, None)
    return {key: value for key, value in encoding.items() if key not in lost}
