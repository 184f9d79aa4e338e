"""When the checkpoint is rewritten. Pure policy; no I/O."""

from __future__ import annotations

__all__ = ["checkpoint_is_due"]

_SMALL = 64 << 10
_FEW_COMMITS = 8
_MOST_COMMITS = 32


def checkpoint_is_due(last_size: int, commits_since: int, bytes_since: int) -> bool:
    """Return whether the checkpoint is rewritten after a commit.

    A small one waits for a few commits, because it must be synchronised, which costs a small flush as much as its
    commit does, and a reader takes a few commits in two or three requests. A large one waits until they are many, or
    together a quarter of its size: then what it costs is spread over what made it necessary.
    """
    if last_size <= _SMALL:
        return commits_since >= _FEW_COMMITS
    return commits_since >= _MOST_COMMITS or bytes_since * 4 >= last_size
