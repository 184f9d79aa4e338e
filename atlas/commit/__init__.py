"""Versions of a store: the commit log, the commit writer, conflict detection and three-way merge.

- `commit_log`      reads documents: opens a version, catches up with later ones; `documents` reads one document
- `commit_writer`   writes commits, pages, checkpoints and bases; `checkpointing` decides when a checkpoint is due
- `earlier_versions`   opens versions before the base that are kept
- `packs`           gathers commits of the past in few documents, and finds them there
- `committer`       commits pending changes on top of what other writers have committed meanwhile
- `tip`             the latest version that a writer found
- `rebase`          turns pending changes into changes of the tip; `conflicts` finds what both sides changed
- `partial_chunk_merge`   merges chunks that were written in part
- `creation`        creates a store
- `history`         lists the versions that are kept; `commit_records` remembers the commits that were read
"""
