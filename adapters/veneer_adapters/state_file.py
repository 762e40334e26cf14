"""The files of an SQLite database: whether they are still those that were opened.

SQLite goes on writing into a file that somebody removed, replaced or overwrote. It reports success,
and all of it is lost at the next start. So whoever reads or writes asks here first.

Only SQLite itself writes into the file, and only when it moves changes there from its log. So a
look is one ``stat``, unless the file has changed. Then what it says of itself must be what this
process knows: the same identity, and a version that has not gone back.

While SQLite moves changes, a file that grows can say nothing of itself: its first page, which is
written first, counts pages that are not there yet. Only a file that says nothing although nobody
writes into it is taken for overwritten.
"""

import asyncio
import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.errors import CatalogGone, StorageFailed

_PAUSE_S = 0.01
_STILL_S = 1.0
"""A move of changes that writes nothing for so long has ended, or was cut off for good."""
_ROOM_BYTES = 1 << 16


Stamp = tuple[int, int, int]
"""Size in bytes, mtime_ns, ctime_ns."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a database says of itself in its ``clock``."""

    identity: str
    version: int

    def may_follow(self, earlier: "Content") -> bool:
        """Return whether the same database can have had ``earlier`` before."""
        return self.identity == earlier.identity and self.version >= earlier.version


class DatabaseFile:
    """The file of an open database, and its write-ahead log."""

    def __init__(self, path: Path) -> None:
        """Remember which file ``path`` is now; a connection must be open, and stay open.

        SQLite removes the log with its last connection; as long as one is open, the log stays.
        """
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._log_bytes = 0
        self._opened = _identity(path)
        self._size_bytes = path.stat().st_size
        self._seen = _stamp(path.stat())
        # None if all of it is still in the log, for instance because the file is read-only.
        self._content = content_of(path)
        self._is_overwritten = False
        self._committed = self._content.version if self._content else 0
        # There is no log on a file system that has no shared memory.
        beside = (self._log, path.with_name(f"{path.name}-shm"))
        self._beside = {file: _identity(file) for file in beside if file.exists()}

    def committed(self, version: int) -> None:
        """Say that a change with this version of the clock was committed."""
        self._committed = max(self._committed, version)

    async def require_in_place(self) -> None:
        """Return when the path still leads to what was opened.

        This takes one look at the disk, and a few milliseconds when the file has changed. While
        the file says nothing of itself, this waits until it does, or nobody has written into it
        for a second.

        Raises:
            CatalogGone: the file was removed, replaced, cut off or overwritten, or its log was
                removed or emptied.
        """
        if self._is_overwritten:
            raise _gone()
        self.require_log()
        silent, since_s = None, 0.0
        while (stamp := self._silent()) is not None:
            if stamp != silent:
                silent, since_s = stamp, time.monotonic()
            elif time.monotonic() - since_s >= _STILL_S:
                raise self._gone_for_good()
            await asyncio.sleep(_PAUSE_S)

    def _silent(self) -> Stamp | None:
        """Return the stamp of a file that says nothing of itself; None if all is well."""
        try:
            found = os.stat(self._path)
        except OSError:
            raise _gone() from None
        is_cut = self._content is None and found.st_size < self._size_bytes
        if (found.st_dev, found.st_ino) != self._opened or is_cut:
            raise _gone()
        stamp = _stamp(found)
        if stamp != self._seen:
            if not self._is_known():
                return stamp
            self._seen, self._size_bytes = stamp, found.st_size
        return stamp if self._has_lost_changes() else None

    def _has_lost_changes(self) -> bool:
        """Return whether the log is shorter than it was, and what it had is not in the file."""
        try:
            size_bytes = self._log.stat().st_size if self._log in self._beside else 0
        except OSError:
            raise _gone() from None
        if size_bytes < self._log_bytes:
            content = content_of(self._path)
            if content is None or content.version < self._committed:
                return True
        self._log_bytes = size_bytes
        return False

    def _is_known(self) -> bool:
        if self._content is None:
            return True
        content = content_of(self._path)
        if content is None:
            return False
        if not content.may_follow(self._content):
            raise self._gone_for_good()
        self._content = content
        return True

    def _gone_for_good(self) -> CatalogGone:
        # For good: what this process writes later would make it look right again.
        self._is_overwritten = True
        return _gone()

    def require_room(self) -> None:
        """Return when a change fits on the disk.

        Raises:
            StorageFailed: there is hardly any room. A small change may still fit, and a large one
                would fail.
        """
        try:
            free_bytes = shutil.disk_usage(self._path.parent).free
        except OSError:
            raise _gone() from None
        if free_bytes < _ROOM_BYTES:
            raise StorageFailed("The disk with the catalog is full.")

    def require_log(self) -> None:
        """Return when the log and its index are those that were opened.

        Where they are others, some connections write what the rest never find.

        Raises:
            CatalogGone: one of them was removed or replaced.
        """
        for file, opened in self._beside.items():
            try:
                found = _identity(file)
            except OSError:
                raise _gone() from None
            if found != opened:
                raise _gone()


def content_of(path: Path) -> Content | None:
    """Return what the file alone says, without its log; None if it is not a catalog.

    SQLite reads it, because of its locks: a process that closes a file loses all its locks on it,
    and only SQLite knows how to avoid that.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as file:
            [row] = file.execute("SELECT identity, version FROM clock").fetchall()
    except (sqlite3.Error, ValueError):
        return None
    return Content(str(row[0]), int(row[1]))


def is_nothing(path: Path) -> bool:
    """Return whether ``path`` leads to no database at all: to no file, or to an empty one."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _gone() -> CatalogGone:
    return CatalogGone(
        "The catalog's file was removed, replaced or overwritten while the server ran. Nothing can"
        " be changed until the server is stopped, the file is restored and the server is started"
        " again."
    )
