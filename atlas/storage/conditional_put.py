"""Whether an object store refuses to create an object that exists, found out by trying.

Services differ and change, and some accept the condition and ignore it, so neither a name nor a setting is trusted. The
object of a probe belongs to nobody: `Storage.list` leaves out its key, `Storage.list_orphans` names it. Asks once; who
calls remembers the answer.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from atlas.storage.keys import TEMPORARY_PREFIX
from atlas.storage.obstore_handle import ALREADY_EXISTS, FAILURES, UNSUPPORTED

if TYPE_CHECKING:
    from atlas.storage.obstore_handle import ObstoreHandle

__all__ = ["PROBES", "has_conditional_put"]

PROBES = "probes"
"""The folder of the objects of probes."""

# S3 and its kin answer so to a header that they do not know.
_UNSUPPORTED_MESSAGE = re.compile(r"\b501\b|not ?implemented|not supported", re.IGNORECASE)
_RETRIES = 3


def has_conditional_put(handle: ObstoreHandle) -> bool:
    """Return whether the store refuses a conditional put of an object that exists; removes what it put.

    Raises what the handle raises where the store does not answer. The probe's object may remain then: to remove it
    would mean to wait for the same store once more.
    """
    key = f"{PROBES}/{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
    refused = False
    # One refusal proves the condition. The first put is refused where its answer was lost and the client has repeated
    # it. A later one may succeed although the condition works, where another process collects orphans meanwhile.
    for attempt in range(1 + _RETRIES):
        try:
            handle.put(key, b"%d" % attempt, mode="create", use_multipart=False)
        except ALREADY_EXISTS:
            refused = True
            break
        except FAILURES as error:
            first_line = str(error).partition("\n")[0]
            if not isinstance(error, UNSUPPORTED) and not _UNSUPPORTED_MESSAGE.search(first_line):
                raise
            if attempt == 0:
                return False
            break
    with suppress(*FAILURES):
        handle.delete([key])
    return refused
