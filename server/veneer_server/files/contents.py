"""The bytes of files on disk, under their sha256. Every method blocks: call them in a thread.

Rule: a name in ``sha256`` is a whole content that would survive a power loss. What arrives is in
``tmp`` until then, and gets its name by one rename.
"""

import errno
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from veneer_adapters.faults import fault_point
from veneer_server.files.errors import DiskFull, FilesUnavailable, FileTooLarge

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Arriving:
    """A content that comes in, part by part; ``keep`` or ``discard`` ends it.

    Its methods may be called from any thread. After ``discard`` nothing is written any more.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Write to the new file ``path``, at most ``max_bytes``.

        Raises:
            DiskFull, FilesUnavailable: the file cannot be made.
        """
        self.path = path
        self.size_bytes = 0
        self.max_bytes = max_bytes
        self._hashed = hashlib.sha256()
        self._turn = threading.Lock()
        with _disk():
            self._file = path.open("xb", buffering=0)

    @property
    def digest(self) -> str:
        """The sha256 of what has come, as 64 hex digits."""
        return self._hashed.hexdigest()

    def write(self, part: bytes) -> None:
        """Add a part.

        Raises:
            FileTooLarge: with it the content is larger than it may be.
            DiskFull, FilesUnavailable: it cannot be written.
        """
        with self._turn, _disk():
            if self._file.closed:
                return
            self.size_bytes += len(part)
            if self.size_bytes > self.max_bytes:
                raise too_large(self.max_bytes)
            self._hashed.update(part)
            fault_point("store.write")
            left = memoryview(part)
            while left:
                left = left[self._file.write(left) or 0 :]

    def finish(self) -> None:
        """Return when every part would survive a power loss."""
        with self._turn, _disk():
            fault_point("store.fsync")
            os.fsync(self._file.fileno())
            self._file.close()

    def discard(self) -> None:
        """Remove what has come; after ``Contents.keep`` this does nothing."""
        with self._turn:
            self._file.close()
            self.path.unlink(missing_ok=True)


class Contents:
    """A folder of contents. Servers may share it if they share the database too."""

    def __init__(self, folder: Path) -> None:
        self._kept, self._tmp = folder / "sha256", folder / "tmp"

    def receive(self, *, max_bytes: int) -> Arriving:
        """Begin with a content of at most ``max_bytes``; raises as ``Arriving`` does."""
        with _disk():
            self._tmp.mkdir(parents=True, exist_ok=True)
        return Arriving(self._tmp / secrets.token_hex(16), max_bytes=max_bytes)

    def keep(self, arrived: Arriving) -> None:
        """Give a finished content its name; what has the name already has the same bytes."""
        path = self._path(arrived.digest)
        with _disk():
            path.parent.mkdir(parents=True, exist_ok=True)
            fault_point("store.rename")
            arrived.path.rename(path)
            _fsync(path.parent)

    def open(self, digest: str) -> BinaryIO:
        """Open a content to read it; it can be read to its end even if it is removed meanwhile.

        Raises:
            FilesUnavailable: it is not here.
        """
        with _disk():
            return self._path(digest).open("rb")

    def remove(self, digest: str) -> None:
        """Remove a content; one that is gone already stays so."""
        with _disk():
            fault_point("store.remove")
            self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """Yield the digest of each content."""
        yield from (path.name for path in self._kept.glob("*/*"))

    def clear(self, *, silent_s: float) -> None:
        """Remove what arrived and to which nothing came for ``silent_s`` seconds."""
        before_s = time.time() - silent_s
        with _disk():
            for path in self._tmp.glob("*"):
                if path.stat().st_mtime <= before_s:
                    path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._kept / digest[:2] / digest


def too_large(max_bytes: int) -> FileTooLarge:
    """Return the error of a file that is larger than ``max_bytes``."""
    return FileTooLarge(
        f"The file is larger than the limit of {max_bytes} bytes (files.max_bytes).", param="file"
    )


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FilesUnavailable("The content of the file is not on this server.") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull("There is no room on the disk for the file.") from error
        raise FilesUnavailable("The server cannot read or write files now.") from error
