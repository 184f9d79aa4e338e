"""Keeps a store small and fast: compaction, retention, garbage collection. Never changes what a version holds.

- `compaction`   rewrites the live chunks of segments as one; `tiering` chooses the segments, also for a flush
- `chunk_copy`   copies live chunks of one array name into a staging, for compaction and export
- `gc`           removes files that no kept version needs; `retention` chooses the versions to keep and to thin,
  and `compaction_report` is what the call returns
- `description`  describes what a store holds and the bytes it takes; `held` estimates what earlier versions hold
"""
