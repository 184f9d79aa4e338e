"""Whether a store refuses to create what is there already, found out by trying.

Services differ and change, and some take the condition and ignore it, so neither a name nor a setting is trusted. What
is put for the trial is nobody's object: its key is one that `Storage.list` leaves out and `leftovers` finds.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import obstore.exceptions

from atlas.storage.keys import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from atlas.storage.objects import Handle

__all__ = ["FAILURES", "PROBES", "THERE_ALREADY", "refuses_second_put"]

PROBES = "probes"
"""The folder of what was put for a trial and could not be removed again."""

# What obstore raises. A missing object is a builtin FileNotFoundError, a call that a store lacks a NotImplementedError.
FAILURES = (obstore.exceptions.BaseError, OSError, NotImplementedError)
THERE_ALREADY = (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError)
_LACKING = (NotImplementedError, obstore.exceptions.NotSupportedError)
# S3 and its kin answer so to a header that they do not know.
_LACKING_WORDS = re.compile(r"\b501\b|not ?implemented|not supported", re.IGNORECASE)
_TRIALS = 3


def refuses_second_put(handle: Handle) -> bool:
    """Return whether a conditional put of an object that is there is refused, and leave nothing behind.

    Raises what the handle raises where the store does not answer; the object may be left then, for to remove it would
    mean to wait for the same store once more.
    """
    key = f"{PROBES}/{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
    refused = False
    # More than one trial, for another process may just be sweeping leftovers; one refusal proves the condition. The
    # first put is refused where its answer was lost on the way and the client has made it once more.
    for trial in range(1 + _TRIALS):
        try:
            handle.put(key, b"%d" % trial, mode="create", use_multipart=False)
        except THERE_ALREADY:
            refused = True
            break
        except FAILURES as error:
            if not isinstance(error, _LACKING) and not _LACKING_WORDS.search(str(error).partition("\n")[0]):
                raise
            if trial == 0:
                return False
            break
    with suppress(*FAILURES):
        handle.delete([key])
    return refused
