"""Files behind URLs, to read: which there are, their size and time, their bytes. Writes none.

A bucket is opened with what the environment says of it, such as `AWS_REGION` or `AWS_SKIP_SIGNATURE`.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from atlas.errors import InvalidValueError
from atlas.runtime.installation import missing_extra

if TYPE_CHECKING:
    from pathlib import Path

    from atlas.storage.objects import ObjectStorage

__all__ = ["fetch_url", "is_url", "list_urls", "stat_url"]

_URL = re.compile(r"(?:https?|s3)://", re.IGNORECASE)
_RETRIES: Any = {"max_retries": 3, "retry_timeout": dt.timedelta(seconds=30)}
"""So that a file that cannot be reached fails within seconds; other files go on."""


def is_url(text: object) -> bool:
    """Return whether a text is a URL that can be read."""
    return isinstance(text, str) and _URL.match(text) is not None


def list_urls(url: str) -> list[str]:
    """Return the URLs of all files below one that ends in "/", sorted. Errors as for `fetch_url`."""
    storage, key = _opened(url)
    root = url[: len(url) - len(urlsplit(url).path)]
    return [f"{root}/{quote(found)}" for found in sorted(storage.find(key))]


def stat_url(url: str) -> tuple[int, int]:
    """Return the size in bytes, and the time in nanoseconds since 1970: 0 where the server does not say.

    Errors as for `fetch_url`.
    """
    storage, key = _opened(url)
    return storage.stat(key)


def fetch_url(url: str, path: Path) -> None:
    """Write a file behind a URL to a path, with its time.

    Raises `FileNotFoundError` where it is missing, `StorageError` where it cannot be read, `InvalidValueError` for a
    URL with a query or a password, and `MissingExtraError` where obstore is not installed.
    """
    storage, key = _opened(url)
    with path.open("wb") as file:
        time = storage.download(key, file)
    os.utime(path, ns=(time, time))


def _opened(url: str) -> tuple[ObjectStorage, str]:
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc or not parts.netloc:
        raise InvalidValueError(
            f"a URL is such as https://host/a.nc or s3://bucket/a.nc, without a query or password, not {url!r}; "
            "download such a file first"
        )
    try:
        from obstore.store import from_url  # noqa: PLC0415 - obstore is optional

        from atlas.storage.objects import ObjectStorage  # noqa: PLC0415 - imports it
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "obstore":
            raise
        raise missing_extra("cloud", "URLs need obstore", "obstore") from error
    options: Any = {"client_options": {"allow_http": True}} if parts.scheme.lower() == "http" else {}
    handle: Any = from_url(f"{parts.scheme}://{parts.netloc}", retry_config=_RETRIES, **options)
    return ObjectStorage(handle), unquote(parts.path).lstrip("/")
