"""An obstore handle as this package uses it: the methods that it calls, and the errors that it expects.

A handle is recognised by its methods, those of obstore's stores (the `obspec` protocols), so that a wrapper around one
works too. Makes no requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import obstore.exceptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Buffer

__all__ = ["ALREADY_EXISTS", "DENIED", "FAILURES", "MISSING", "UNSUPPORTED", "Answer", "ObstoreHandle"]

FAILURES = (obstore.exceptions.BaseError, OSError, NotImplementedError)
"""Everything that a handle raises when a request fails."""
ALREADY_EXISTS = (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError)
"""A conditional put of an object that exists."""
MISSING = (FileNotFoundError, obstore.exceptions.NotFoundError)
"""A missing object."""
DENIED = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
"""A request without permission."""
UNSUPPORTED = (NotImplementedError, obstore.exceptions.NotSupportedError)
"""A call that the store does not know."""


class Answer(Protocol):
    """What `ObstoreHandle.get` returns."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """A mapping with the object's `size` and `last_modified`."""

    def buffer(self) -> Buffer:
        """Return the bytes of the object."""

    def stream(self) -> Iterable[Buffer]:
        """Return the bytes of the object in blocks."""


class ObstoreHandle(Protocol):
    """The methods of an obstore store, or of a wrapper around one, that are called here."""

    def put(
        self,
        path: str,
        file: bytes | Iterator[bytes],
        *,
        mode: Literal["create", "overwrite"] | None = ...,
        use_multipart: bool | None = ...,
        chunk_size: int = ...,
        max_concurrency: int = ...,
    ) -> object:
        """Store an object."""

    def get(self, path: str) -> Answer:
        """Request a whole object."""

    def get_range(self, path: str, *, start: int, length: int) -> Buffer:
        """Return the bytes of a range, or fewer where the object ends within it."""

    def head(self, path: str) -> Mapping[str, Any]:
        """Return a mapping with the object's `size` and `last_modified`."""

    def list(self, prefix: str | None = None) -> Iterable[Sequence[Mapping[str, Any]]]:
        """Return batches of mappings with an object's `path`."""

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects."""
