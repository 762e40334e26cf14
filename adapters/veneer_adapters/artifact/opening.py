"""Open a file inside a folder that is not trusted, and nothing outside it."""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from veneer_adapters.errors import PathNotAllowed, quoted


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_inside(folder: Path, name: str) -> BinaryIO:
    """Return the regular file ``name`` of ``folder``, open. Never waits for the writer of a pipe.

    Raises:
        PathNotAllowed: it is not a regular file, or a link that leaves ``folder``.
        OSError: it cannot be opened.
    """
    inside = os.path.realpath(folder, strict=True)
    path = os.path.realpath(os.path.join(inside, name), strict=True)
    if os.path.commonpath([inside, path]) != inside:
        raise PathNotAllowed(f"{quoted(name)} is a link that leaves the adapter's folder.")
    # NONBLOCK, because opening a pipe would otherwise wait for its writer for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PathNotAllowed(f"{quoted(name)} is not a regular file.")
    return os.fdopen(descriptor, "rb")
