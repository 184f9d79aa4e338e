"""Versions of a store: the commit log, the commit writer, conflict detection and three-way merge.

- `commit_log`      reads the documents: opening, catching up, earlier versions; `documents` one document
- `commit_writer`   writes them: commits, pages, checkpoints, bases; `checkpointing` when a checkpoint is due
- `committer`       commits what is pending, on top of what other writers committed meanwhile
- `tip`             the latest version that a writer found
- `rebase`          pending datasets onto the tip; `conflicts` what both sides changed
- `partial_chunk_merge`   cells of chunks that both sides wrote in part
- `creation`        a new store
- `history`         the versions that are kept
"""
