"""Decides when the checkpoint is rewritten. Pure policy; no I/O."""

from __future__ import annotations

from atlas.runtime.limits import DEFAULT, Limits

__all__ = ["checkpoint_is_due"]


def checkpoint_is_due(last_size: int, commits_since: int, bytes_since: int, limits: Limits = DEFAULT) -> bool:
    """Return whether the checkpoint is to be rewritten after a commit.

    `last_size` is the size of the checkpoint in bytes, `commits_since` the number of commits after it, `bytes_since`
    the bytes of their documents. A small checkpoint waits for a few commits: it must be synced, which costs a small
    flush as much as its commit does, and readers get a few commits in two or three requests. A large one waits for many
    commits, or for a quarter of its size: so the cost of rewriting it is spread over them.
    """
    if last_size <= limits.small_checkpoint:
        return commits_since >= limits.few_commits
    return commits_since >= limits.many_commits or bytes_since * 4 >= last_size
