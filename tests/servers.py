"""Servers on 127.0.0.1 for tests, as fixtures: import them into a conftest.py to use them."""

# ruff: noqa: PLC0415 - obstore and moto are loaded only where a test asks for a server

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import hmac
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import AzureStore, HTTPStore, S3Store

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class S3Endpoint:
    """A running S3 server."""

    url: str

    def make_bucket(self, name: str) -> str:
        """Make the bucket unless it is there, and return its name."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=30).close()
        return name

    def open_store(self, bucket: str, prefix: str | None = None, secret: str = "a-secret", **config: Any) -> S3Store:
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
            **config,
        )


@contextmanager
def running_s3() -> Iterator[S3Endpoint]:
    """Run an S3 server with nothing in it, in threads of this process."""
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


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[S3Endpoint]:
    """An S3 server for as long as the tests run."""
    with running_s3() as endpoint:
        yield endpoint


@dataclass(frozen=True)
class AzureEndpoint:
    """A running server of Azure's blobs, with the account and key that Azurite is published with."""

    url: str
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def make_container(self, name: str) -> str:
        """Make the container unless it is there, and return its name."""
        headers = {
            "x-ms-date": dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "x-ms-version": "2021-08-06",
        }
        signed = "PUT" + "\n" * 12 + "".join(f"{field}:{value}\n" for field, value in headers.items())
        signed += f"/{self.account}/{self.account}/{name}\nrestype:container"
        digest = hmac.new(base64.b64decode(self.key), signed.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        request = urllib.request.Request(
            f"{self.url}/{self.account}/{name}?restype=container", method="PUT", headers=headers
        )
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 409:
                    raise
        return name

    def open_store(self, container: str, prefix: str | None = None) -> AzureStore:
        """Return an obstore handle on the container."""
        from obstore.store import AzureStore

        return AzureStore(
            container,
            prefix=prefix,
            account_name=self.account,
            account_key=self.key,
            endpoint=f"{self.url}/{self.account}",
            client_options={"allow_http": True},
        )


def find_azurite() -> list[str] | None:
    """Return the command of Azurite's blob server: of `node_modules` in the clone, or of the PATH."""
    if shutil.which("node") is None:
        return None
    beside = ROOT / "node_modules" / ".bin" / "azurite-blob"
    found = str(beside) if beside.exists() else shutil.which("azurite-blob")
    return None if found is None else [found]


@contextmanager
def running_azurite() -> Iterator[AzureEndpoint]:
    """Run Azurite with nothing in it, or skip the test where it is not installed."""
    command = find_azurite()
    if command is None:
        pytest.skip("Azurite is not installed: npm install --no-save azurite@3.35.0 (see CONTRIBUTING.md)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
    server = subprocess.Popen(
        [*command, *options, "--skipApiVersionCheck", "--disableTelemetry"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Azurite did not start: {command}") from None
                time.sleep(0.05)
        yield AzureEndpoint(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="session")
def azure_endpoint() -> Iterator[AzureEndpoint]:
    """An Azure blob server for as long as the tests run; skips where it is not installed."""
    with running_azurite() as endpoint:
        yield endpoint


class _Ranged(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, by ranges too."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            super().do_GET()
            return
        size, start = path.stat().st_size, int(asked[1])
        end = min(int(asked[2]) + 1, size)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()[start:end]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
        self.end_headers()
        self.wfile.write(data)


class _Rangeless(_Ranged):
    do_GET = http.server.SimpleHTTPRequestHandler.do_GET


@contextmanager
def serving(folder: os.PathLike[str], *, ranges: bool = True) -> Iterator[HTTPStore]:
    """Serve a folder over plain HTTP and lend an obstore handle on it."""
    from obstore.store import HTTPStore

    handler = functools.partial(_Ranged if ranges else _Rangeless, directory=os.fspath(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield HTTPStore(f"http://127.0.0.1:{server.server_port}", client_options={"allow_http": True})
        finally:
            server.shutdown()
            thread.join()
