"""How the package is installed: the line that installs an extra, and another package of the same import name.

Reads the metadata of the installed distributions, and only when called. Imports none of them.
"""

from __future__ import annotations

import logging
import shlex
import sys
from importlib import metadata

from atlas.errors import MissingExtraError

__all__ = ["install_line", "missing_extra", "warn_of_namesake"]

_log = logging.getLogger(__name__)

_OURS = "atlas-store"
_NAMESAKE = "atlas-python"


def install_line(extra: str, *names: str) -> str:
    """The shell command that installs what `extra` requires into the environment of this process.

    It names the requirements and not the extra, so that it also works for an installation from a clone. `names` stand
    in for them in a source tree that was never installed.
    """
    try:
        declared = metadata.requires(_OURS) or []
    except metadata.PackageNotFoundError:
        declared = []
    split = [requirement.partition(";") for requirement in declared]
    found = [requirement.strip() for requirement, _, marker in split if marker.strip() == f"extra == '{extra}'"]
    return _pip("install", *(found or names))


def missing_extra(extra: str, need: str, module: str) -> MissingExtraError:
    """The error for a missing `module` of `extra`; `need` says what needs it, such as "object stores need obstore"."""
    return MissingExtraError(
        f"{need}, which is not installed; the extra {extra!r} of {_OURS} brings it: {install_line(extra, module)}",
        name=module,
    )


def warn_of_namesake() -> None:
    """Log a warning with the repair where atlas-python is installed too, whose import name is `atlas` as well.

    Not by `warnings.warn`, which would end programs that run with `-W error`.
    """
    try:
        metadata.distribution(_NAMESAKE)
    except metadata.PackageNotFoundError:
        return
    commands = [_pip("uninstall", "--yes", _NAMESAKE)]
    source = _source()
    if source is not None:  # removing the other package also removes files that it shares with this one
        commands.append(_pip("install", "--force-reinstall", "--no-deps", source))
    _log.warning(
        "%s is installed in the same environment as %s. Both are imported as atlas, so either may run with files of "
        "the other. To keep only %s: %s",
        _NAMESAKE,
        _OURS,
        _OURS,
        " && ".join(commands),
    )


def _source() -> str | None:
    """What pip can install this package from again; None where its files are those of a source tree."""
    import json  # noqa: PLC0415 - where two packages collide, and nowhere else

    try:
        found = metadata.distribution(_OURS)
    except metadata.PackageNotFoundError:
        return None
    recorded = found.read_text("direct_url.json")  # PEP 610; absent for an installation from an index
    if recorded is None:
        return f"{_OURS}=={found.version}"
    origin = json.loads(recorded)
    if origin.get("dir_info", {}).get("editable"):
        return None
    url: str = origin["url"]
    if "vcs_info" in origin:
        return f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return url


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable or "python", "-m", "pip", *arguments])
