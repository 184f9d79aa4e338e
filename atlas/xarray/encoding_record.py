"""`encoding` of xarray to text, the encoding record, and back: how a file packs, compresses and chunks a variable.

Reads and writes no store; warns of values that have no text. A record is a JSON object of the keys as given, their
values in the form of `atlas.format.attribute_codec` or, for what no attribute holds, an object `{"$": tag, ...}` of one
of these tags: `dtype` with the text `t` of NumPy and metadata `m`, `type` for `str` and the like, `set`, and `source`
for the file that the dataset came from. That file is stored once for a dataset and not in records, so that datasets of
one kind have equal records, which a document holds once.

Never compares an encoding with the cells that it belongs to: what a changed dataset has outgrown is kept too, and
xarray judges it when it writes.
"""

from __future__ import annotations

import copy
import inspect
import json
import marshal
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.errors import AtlasError, InvalidValueError
from atlas.format.attribute_keys import ENCODING_KEY, SOURCE_KEY
from atlas.format.attributes import decode_value, encode_value
from atlas.format.dtypes import TIME_UNIT
from atlas.format.text import recover_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from atlas.format.attribute_keys import AttributeKey

__all__ = ["common_encoding", "decode_encoding", "encode_encoding", "record_encodings"]

_MOST_CACHED: Final = 1024
"""Most encodings remembered with their records, and most records with their encodings; a store has some dozens."""

_NUMPY_TYPES: Final[Mapping[str, type]] = {
    name: getattr(np, name)
    for name in (
        *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128", "str_", "bytes_", "object_"),
    )
}
_TYPES: Final[Mapping[str, type]] = {
    **_NUMPY_TYPES,
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, object)},
}
_TYPE_NAMES: Final = {kind: name for name, kind in _TYPES.items()}
_DTYPE: Final = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>][fc](?:2|4|8|16)|\|O|\|S\d{1,9}|[<>]U\d{1,9}|T"
    rf"|[<>][mM]8{TIME_UNIT}"
)
_SOURCE: Final = {"$": "source"}

_PYTHON_SCALARS: Final = frozenset({type(None), bool, int, float, str})
_NUMPY_SCALARS: Final = frozenset(
    kind for kind in _NUMPY_TYPES.values() if issubclass(kind, np.bool_ | np.integer | np.floating)
)

_CELL_KEYS: Final = frozenset(
    {"dtype", "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned", "units", "calendar"}
)
"""What together decides the cells in a file: with some of them alone xarray would write other cells."""
LAYOUT_KEYS: Final = frozenset({"chunksizes", "preferred_chunks", "original_shape", "chunks", "shards"})
"""What has an entry for each dimension."""

_encoded: dict[object, tuple[str, tuple[object, ...]]] = {}


def encode_encoding(encoding: Mapping[Any, Any], source: str | None) -> tuple[str, tuple[object, ...]]:
    """Return the record of an encoding, and the keys whose values cannot be stored, which the record leaves out.

    `source` is the file that is stored for the dataset.
    """
    own = dict(encoding)
    shares_source = source is not None and type(own.get("source")) is str and own["source"] == source
    if shares_source:
        own["source"] = None
    dtype = own.get("dtype")
    if isinstance(dtype, np.dtype) and dtype.metadata is None:
        own["dtype"] = None
    else:
        dtype = None
    # Most datasets of a store have equal encodings: bytes and types find the record in a tenth of the time.
    try:
        key = (shares_source, dtype, marshal.dumps(own, 2), *map(type, own.values()))
    except ValueError:  # a value that marshal does not know
        return _encode(encoding, shares_source=shares_source)
    found = _encoded.get(key)
    if found is None:
        found = _encode(encoding, shares_source=shares_source)
        if all(type(value) in _NUMPY_SCALARS or _is_plain(value) for value in own.values()):
            if len(_encoded) >= _MOST_CACHED:
                _encoded.clear()
            _encoded[key] = found
    return found


def decode_encoding(record: object, source: object) -> dict[str, Any]:
    """Return the encoding of a record; the caller may change it. Raises `InvalidValueError` for what is none."""
    decoded = _decode(_checked(record))
    out = decoded.encoding.copy()
    for key, copier in decoded.copiers:
        out[key] = copier(out[key])
    if decoded.from_source and isinstance(source, str):
        out["source"] = source
    return out


def common_encoding(records: Sequence[object], *, stacked: bool) -> dict[str, Any]:
    """Return what the encodings of several datasets have in common; a record is None where there is no encoding.

    Leaves out the source and, where `stacked`, what has an entry for each dimension. Raises `InvalidValueError` for
    what is no record.
    """
    try:
        distinct = dict.fromkeys(records)
    except TypeError:  # a list or an object
        distinct = dict.fromkeys(map(_checked, records))
    first, *others = ["{}" if record is None else _checked(record) for record in distinct]
    items = _decode(first).items
    differing: set[str] = set()
    for other in (_decode(record).items for record in others):
        differing.update(key for key in {**items, **other} if items.get(key) != other.get(key))
    if differing & _CELL_KEYS:
        differing |= _CELL_KEYS
    if stacked:
        differing |= LAYOUT_KEYS
    differing.add("source")
    return {key: value for key, value in decode_encoding(first, None).items() if key not in differing}


def record_encodings(
    name: str, encoding: Mapping[Any, Any], variables: Mapping[str, Mapping[Any, Any]]
) -> dict[AttributeKey, str]:
    """Return the attributes that keep the encodings of dataset `name` and of its variables, by name.

    Warns of keys whose values cannot be stored, with the variables that have them.
    """
    attributes: dict[AttributeKey, str] = {}
    lost: dict[object, list[Any]] = {}
    owners: dict[str | None, Mapping[Any, Any]] = {None: encoding}
    owners.update(variables)
    source = _source(owners.values())
    for owner, given in owners.items():
        if given:
            record, keys = encode_encoding(given, source)
            attributes[(ENCODING_KEY,) if owner is None else (owner, ENCODING_KEY)] = record
            for key in keys:
                lost.setdefault(key, []).append(owner)
    if source is not None:
        attributes[SOURCE_KEY,] = source
    if lost:
        warnings.warn(_lost_text(name, lost), stacklevel=_caller_level())
    return attributes


def _caller_level() -> int:
    """Return the `stacklevel` at which a warning of the calling function names the code that called this package."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "atlas":
        level, frame = level + 1, frame.f_back
    return level


def _source(encodings: Iterable[Mapping[Any, Any]]) -> str | None:
    """Return the file that the dataset came from, whose encoding is the first, else that of its first variable."""
    for encoding in encodings:
        source = encoding.get("source")
        if type(source) is str:
            return source if _is_text(source) else None
    return None


def _lost_text(name: str, lost: Mapping[object, Sequence[Any]]) -> str:
    keys = "; ".join(
        f"{key!r} of {', '.join('the dataset' if owner is None else repr(owner) for owner in owners)}"
        for key, owners in lost.items()
    )
    key, owners = next(iter(lost.items()))
    one = "ds" if owners[0] is None else f"ds[{owners[0]!r}]"
    return (
        f"dataset {name!r} is stored without some of its encoding: {keys}, as values of these types are not stored; "
        f"add ds.drop_encoding() to store none of it, or del {one}.encoding[{key!r}] first to leave out one key"
    )


def _encode(encoding: Mapping[Any, Any], *, shares_source: bool) -> tuple[str, tuple[object, ...]]:
    items: dict[str, object] = {}
    lost: list[object] = []
    for key, value in encoding.items():
        try:
            item = _SOURCE if shares_source and key == "source" else _encode_item(value)
        except AtlasError:
            lost.append(key)
            continue
        if _is_text(key):
            items[key] = item
        else:
            lost.append(key)
    return json.dumps(items, ensure_ascii=False, separators=(",", ":")), tuple(lost)


def _is_text(key: object) -> bool:
    try:
        return type(key) is str and recover_text(key) == key
    except InvalidValueError:
        return False


def _encode_item(value: object) -> object:
    """Return the stored form of a value. Raises `InvalidValueError` or `OutOfRangeError` where it has none."""
    if isinstance(value, np.dtype):
        return _encode_dtype(value)
    if isinstance(value, type) and value in _TYPE_NAMES:
        return {"$": "type", "v": _TYPE_NAMES[value]}
    if type(value) is set:
        return {"$": "set", "v": sorted((encode_value(item) for item in value), key=json.dumps)}
    return encode_value(value)


def _encode_dtype(dtype: np.dtype[Any]) -> object:
    text = "T" if dtype.char == "T" else dtype.str
    # Not all of a dtype is in its text: fields, the missing value of a text dtype.
    if not _DTYPE.fullmatch(text) or np.dtype(text) != dtype:
        raise InvalidValueError(f"dtype {dtype} has no text that restores it")
    metadata = dict(dtype.metadata or {})
    if not all(map(_is_text, metadata)):
        raise InvalidValueError(f"dtype {dtype} has metadata without names")
    return {"$": "dtype", "t": text, "m": {key: _encode_item(value) for key, value in metadata.items()}}


def _checked(record: object) -> str:
    if isinstance(record, str):
        return record
    raise InvalidValueError(f"malformed encoding: text expected, not {type(record).__name__}")


def _parse(record: str) -> dict[str, Any]:
    try:
        items = json.loads(record)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"malformed encoding: {error}") from error
    if not isinstance(items, dict):
        raise InvalidValueError(f"malformed encoding: an object expected, not {type(items).__name__}")
    return items


def _decode_item(item: Any) -> Any:
    tag = item.get("$") if isinstance(item, dict) else None
    decoder = _DECODERS.get(tag) if isinstance(tag, str) else None
    if decoder is None:
        return decode_value(item)
    try:
        return decoder(item)
    except InvalidValueError:
        raise
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"malformed encoding: {tag} {error}") from error


def _decode_dtype(item: dict[str, Any]) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(item["t"]):
        raise InvalidValueError(f"malformed encoding: dtype {item['t']!r:.40}")
    metadata = {key: _decode_item(value) for key, value in item["m"].items()}
    dtype: np.dtype[Any] = np.dtype(item["t"], metadata=metadata) if metadata else np.dtype(item["t"])
    return dtype


_DECODERS: Final[Mapping[str, Callable[[dict[str, Any]], Any]]] = {
    "dtype": _decode_dtype,
    "type": lambda item: _TYPES[item["v"]],
    "set": lambda item: {decode_value(value) for value in item["v"]},
}


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A record as values, which nobody may change."""

    items: dict[str, Any]
    """The values in their stored form, without a source that is the dataset's."""
    encoding: dict[str, Any]
    """The values."""
    copiers: list[tuple[str, Callable[[Any], Any]]]
    """How to copy those that can change."""
    from_source: bool
    """Whether the source is the dataset's."""


@lru_cache(maxsize=_MOST_CACHED)
def _decode(record: str) -> _Decoded:
    items = _parse(record)
    from_source = items.get("source") == _SOURCE
    if from_source:
        del items["source"]
    encoding = {key: _decode_item(item) for key, item in items.items()}
    copiers = [(key, copier) for key, value in encoding.items() if (copier := _copier(value)) is not None]
    return _Decoded(items, encoding, copiers, from_source)


def _copier(value: object) -> Callable[[Any], Any] | None:
    """Return what copies values like this one; None where they cannot change."""
    if isinstance(value, np.generic | np.dtype | type | bytes) or type(value) in _PYTHON_SCALARS:
        return None
    if type(value) is tuple and all(_copier(part) is None for part in value):
        return None
    # `deepcopy` takes microseconds, for a dict of chunk lengths and a set of dimensions too.
    if type(value) is set or (type(value) is dict and all(_copier(part) is None for part in value.values())):
        return copy.copy
    return copy.deepcopy


def _is_plain(value: object) -> bool:
    """Return whether marshal writes no other value like this one, if types at the top are equal.

    It writes NumPy scalars as bytes, so within lists it writes different ones alike.
    """
    if type(value) in (tuple, list, set):
        return all(map(_is_plain, value))  # type: ignore[call-overload]
    if type(value) is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return type(value) in _PYTHON_SCALARS
