"""Verifying a store: reads everything and names what is damaged. Changes nothing unless asked to repair.

- `verifier`          the whole of it, repair and export
- `metadata_check`    documents, from the checkpoint, and from the base and the commits
- `document_check`    one document; `page_recovery` what others still hold of a damaged page
- `segment_check`     segments, block by block; `chunk_check` chunks and their statistics
- `export`            what is whole, to a new store
- `findings`, `report`, `progress`   what was found, gathered, handed over and shown
"""

from __future__ import annotations

from atlas.verification.report import VerifyReport
from atlas.verification.verifier import verify_session, verify_storage

__all__ = ["VerifyReport", "verify_session", "verify_storage"]
