"""Object stores that lack conditional puts, each in its own way, over one that has them."""

from __future__ import annotations

import obstore.exceptions
from obstore.store import MemoryStore


class Naive:
    """A handle whose puts under a condition do what `manner` says; notes every path that is put."""

    def __init__(self, manner: str) -> None:
        self.store = MemoryStore()
        self.manner = manner
        self.put_paths: list[str] = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.store, name)

    def put(self, path, file, *, mode=None, **options):
        self.put_paths.append(path)
        if mode == "create":
            if self.manner == "not implemented":
                raise NotImplementedError("Operation `put_opts` with mode `PutMode::Create` not yet implemented")
            if self.manner == "not supported":
                raise obstore.exceptions.NotSupportedError("Operation not supported: conditional put")
            if self.manner == "501":
                raise obstore.exceptions.GenericError(
                    "Generic S3 error: Error performing PUT http://h/b/k in 1s, after 10 retries - Server returned "
                    "non-2xx status code: 501 Not Implemented: <Error><Code>NotImplemented</Code></Error>"
                )
        # What is left takes the condition and ignores it.
        return self.store.put(path, file, **options)


MANNERS = ("not implemented", "not supported", "501", "ignores")
