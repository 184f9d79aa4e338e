"""`Attributes`: the attributes of a dataset or of one of its arrays as a mapping that writes through."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from atlas.errors import InvalidNameError, InvalidTypeError, MissingAttributeError
from atlas.format.attribute_keys import ArrayPrefixes, flatten_key
from atlas.xarray.attribute_owners import assign_attributes, encode_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas.format.attribute_keys import AttributeKey
    from atlas.session import Session

__all__ = ["Attributes"]


class Attributes(MutableMapping[str, Any]):
    """The attributes of one dataset or one array, by name, in the order they were set.

    A mapping of str to values: bool, int, float, str, bytes, None, dates and durations of datetime and pandas, NumPy
    scalars and arrays, and lists, tuples and dicts of these come back as they were set; times that
    `DatasetView.set_attribute` took, as int nanoseconds since 1970. Setting and deleting change the dataset in memory
    until `Atlas.flush`. Values are copies: to change a list in place, set it again.

    `dataset[array].attrs[name]` is the attribute that `DatasetView.attributes` shows as "array.name". The attributes of
    the dataset itself are all others, so that none of them can be named so.

    Raises `MissingAttributeError` (KeyError) for a name without an attribute, `InvalidValueError` (ValueError) for a
    value and `InvalidNameError` (ValueError) for a name that cannot be stored, `InvalidTypeError` (TypeError) for a
    name that is no str, `DatasetNotFoundError` or `ArrayNotFoundError` (KeyError) once the dataset or array is deleted.

    Examples
    --------
    >>> dataset = atlas.Atlas.create(path).create_dataset("monday")
    >>> dataset.define_array("depth", "int16", ["x"], [2])
    >>> dataset["depth"].attrs["units"] = "m"
    >>> dataset["depth"].attrs
    {'units': 'm'}
    >>> dataset.attributes()
    {'depth.units': 'm'}

    """

    __slots__ = ("_array", "_dataset", "_session")

    def __init__(self, session: Session, dataset: str, array: str | None = None) -> None:
        """Use `DatasetView.attrs` or `ArrayView.attrs`."""
        self._session = session
        self._dataset = dataset
        self._array = array

    def _found(self) -> dict[str, Any]:
        arrays = self._arrays()
        owned = assign_attributes(self._session.view.exact_attributes(self._dataset), arrays)
        return owned.dataset if self._array is None else owned.variables[self._array]

    def _arrays(self) -> list[str]:
        view = self._session.view
        if self._array is not None:
            view.array(self._dataset, self._array)
        return list(view.entries(self._dataset))

    def _key(self, name: str) -> AttributeKey:
        return (name,) if self._array is None else (self._array, name)

    def _missing(self, name: object) -> MissingAttributeError:
        what = f"dataset {self._dataset!r}" if self._array is None else f"array {self._array!r} of {self._dataset!r}"
        return MissingAttributeError(f"{what} has no attribute {name!r}; it has {list(self._found())}")

    def __getitem__(self, name: str) -> Any:
        found = self._found()
        if not isinstance(name, str) or name not in found:
            raise self._missing(name)
        return found[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise InvalidTypeError(f"an attribute name is a str, not {type(name).__name__} {name!r}")
        owner = f"dataset {self._dataset!r}" if self._array is None else f"array {self._array!r}"
        ((own, encoded),) = encode_attributes(owner, {name: value}).items()
        key = self._key(own)
        array, rest = ArrayPrefixes(self._arrays()).split(flatten_key(key))
        if array != self._array:
            raise InvalidNameError(
                f"{owner}: {own!r} is the attribute {rest!r} of array {array!r}; use dataset[{array!r}].attrs[{rest!r}]"
            )
        self._session.writer.set_attribute(self._dataset, key, encoded)

    def __delitem__(self, name: str) -> None:
        if not isinstance(name, str) or name not in self._found():
            raise self._missing(name)
        self._session.writer.delete_attribute(self._dataset, self._key(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    def __repr__(self) -> str:
        return repr(self._found())
