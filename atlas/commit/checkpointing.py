"""When the checkpoint is rewritten. Pure policy; no I/O."""

from __future__ import annotations

from atlas.runtime.limits import DEFAULT, Limits

__all__ = ["checkpoint_is_due"]


def checkpoint_is_due(last_size: int, commits_since: int, bytes_since: int, limits: Limits = DEFAULT) -> bool:
    """Return whether the checkpoint is rewritten after a commit.

    A small one waits for a few commits, because it must be synchronised, which costs a small flush as much as its
    commit does, and a reader takes a few commits in two or three requests. A large one waits until they are many, or
    together a quarter of its size: then what it costs is spread over what made it necessary.
    """
    if last_size <= limits.small_checkpoint:
        return commits_since >= limits.few_commits
    return commits_since >= limits.many_commits or bytes_since * 4 >= last_size
