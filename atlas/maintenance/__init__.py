"""Keeping a store small and fast: compaction, retention, garbage collection. Never changes what a version holds.

- `compaction`   live chunks of many segments into one; `tiering` which small segments a flush joins
- `chunk_copy`   live chunks of one array into a staging, for compaction and export
- `gc`           removes files that no kept version needs; `retention` which versions are kept
- `description`  what a store holds and what it takes on disk
"""
