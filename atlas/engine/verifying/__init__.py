"""Verifying a store: reading everything there is, and telling what is damaged.

- `verification`  the whole of it, repair and export
- `survey`        documents, both ways: from the checkpoint, and from the base and the commits
- `perusal`       one document; `salvage` what others still hold of a damaged one
- `checking`      data files, block by block; `recounting` chunks and their statistics
- `exporting`     what is whole, to a new store
- `findings`, `report`, `progress`  what was found, as it is gathered, handed over and shown
"""

from __future__ import annotations

from atlas.engine.verifying.report import VerifyReport
from atlas.engine.verifying.verification import verify_session, verify_storage

__all__ = ["VerifyReport", "verify_session", "verify_storage"]
