"""What one look at one folder sees. Nothing here opens a file, and no entry costs the others."""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.artifact.files import is_artifact_file
from veneer_adapters.errors import AdapterError
from veneer_adapters.sources.folders.settling import Signature

_CERTAIN = {errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG}

Identity = tuple[int, int]
"""Device and inode: a folder that was removed and made again is another one."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that lies in a root and cannot be served."""

    name: str
    folder: Path
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder."""

    identity: Identity
    signature: Signature
    """Of the files of an adapter; empty if there are none."""
    others: tuple[str, ...]
    """Everything visible but regular files: folders, links, pipes; sorted."""


def listing(folder: Path) -> Listing:
    """Return what lies in ``folder`` now.

    Raises:
        OSError: it cannot be looked at.
    """
    with os.scandir(folder) as found:
        entries = list(found)
    itself = os.stat(folder)
    files = sorted(_stat(entry) for entry in entries if is_artifact_file(entry.name))
    return Listing((itself.st_dev, itself.st_ino), tuple(files), _others(entries))


def is_utf8(name: str) -> bool:
    """Return whether the file system's bytes for ``name`` are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: Path) -> str:
    """Return ``path`` for a log line: on one line, and with escapes for what is not UTF-8."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def why(error: Exception) -> str:
    """Return the reason for a folder that could not be looked at."""
    if isinstance(error, AdapterError) or getattr(error, "errno", None) == errno.ELOOP:
        return "its links lead in a loop, or through too many links"
    if isinstance(error, OSError) and error.errno:
        return f"it cannot be looked at: {os.strerror(error.errno)}"
    return f"it cannot be looked at: {type(error).__name__}"


def is_passing(error: Exception) -> bool:
    """Return whether ``error`` says nothing of what lies there, so that it may still be there."""
    return isinstance(error, OSError) and error.errno not in _CERTAIN


def _others(entries: Iterable[os.DirEntry[str]]) -> tuple[str, ...]:
    # Hidden ones belong to other programs: .git, .cache, rsync's partial copies.
    visible = (entry for entry in entries if not entry.name.startswith("."))
    return tuple(sorted(entry.name for entry in visible if not _is_plain(entry)))


def _is_plain(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _stat(entry: os.DirEntry[str]) -> tuple[str, int, int, int, int]:
    try:
        s = entry.stat()
    except OSError as error:
        # A link to nothing or to itself, or removed since it was listed: a state like any other.
        return entry.name, -1, error.errno or 0, 0, 0
    return entry.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino
