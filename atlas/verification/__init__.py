"""Verifies a store: reads everything and names what is damaged. Changes nothing unless asked to repair.

- `verifier`         the whole of it, with repair and export
- `metadata_check`   all documents, and the version that they give
- `document_check`   one document at a time; `page_recovery` what other documents hold of a damaged page
- `segment_check`    the segments of an array: files, headers, footers, indexes
- `chunk_check`      live chunks against their rows; `chunk_pieces` where their cells lie in blocks
- `block_check`      blocks, and statistics computed anew from their cells
- `export`           what is whole, to a new store
- `findings`, `report`, `progress`   damage as it is found, as it is returned, and how far it is

Never repairs data, and never raises for damage.
"""

from __future__ import annotations

from atlas.verification.progress import Progress
from atlas.verification.report import VerifyReport
from atlas.verification.verifier import KnownVersion, verify_storage

__all__ = ["KnownVersion", "Progress", "VerifyReport", "verify_storage"]
