"""The files of an SQLite database: whether they are still those that were opened.

SQLite goes on writing into a file that somebody removed or replaced. It reports success, and all of
it is lost at the next start. So whoever writes asks here first.
"""

import os
from pathlib import Path

from veneer_adapters.errors import CatalogGone


class DatabaseFile:
    """The file of an open database, and its write-ahead log."""

    def __init__(self, path: Path) -> None:
        """Remember which file ``path`` is now; a connection must be open."""
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._opened = _identity(path)
        self._size_bytes = path.stat().st_size
        # There is no log on a file system that has no shared memory.
        self._has_log = self._log.exists()

    def require_in_place(self) -> None:
        """Return when the path still leads to what was opened; one look at the disk.

        Raises:
            CatalogGone: the file was removed, replaced or cut off.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            raise _gone() from None
        if (found.st_dev, found.st_ino) != self._opened or found.st_size < self._size_bytes:
            raise _gone()

    def require_log(self) -> None:
        """Return when the log is where it can be found again.

        Call this while a connection reads or writes: when all are closed there may be no log.

        Raises:
            CatalogGone: the log was removed.
        """
        if self._has_log and not self._log.exists():
            raise _gone()


def is_nothing(path: Path) -> bool:
    """Return whether ``path`` leads to no database at all: to no file, or to an empty one."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _gone() -> CatalogGone:
    return CatalogGone(
        "The catalog's file was removed or replaced while the server ran. Nothing can be changed"
        " until the server is stopped, the file is restored and the server is started again."
    )
