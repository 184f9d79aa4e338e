"""Servers on 127.0.0.1 for tests, as fixtures: import them into a conftest.py to use them."""

# ruff: noqa: PLC0415 - obstore and moto are loaded only where a test asks for a server

from __future__ import annotations

import urllib.request
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import S3Store


@dataclass(frozen=True)
class S3Endpoint:
    """A running S3 server."""

    url: str

    def make_bucket(self, name: str) -> str:
        """Make the bucket unless it is there, and return its name."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=30).close()
        return name

    def open_store(self, bucket: str, prefix: str | None = None, secret: str = "a-secret") -> S3Store:
        """Return an obstore handle on the bucket."""
        from obstore.store import S3Store

        return S3Store(
            bucket,
            prefix=prefix,
            endpoint=self.url,
            region="us-east-1",
            access_key_id="a-name",
            secret_access_key=secret,
            client_options={"allow_http": True},
        )


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[S3Endpoint]:
    """An S3 server with nothing in it, in threads of this process, for as long as the tests run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Endpoint(f"http://{host}:{port}")
    finally:
        server.stop()
