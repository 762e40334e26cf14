"""The folder of stored content. Content enters it by one rename, and leaves it by one rename."""

import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from veneer_adapters.artifact.files import FILES, digest_of
from veneer_adapters.artifact.opening import sha256_of
from veneer_adapters.faults import fault_point
from veneer_adapters.store.copying import fsync
from veneer_adapters.store.inventory import READ_ONLY, scan

_UNREADABLE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO}
"""How damaged files answer. Any other error, such as too many open files, may go away."""


class Contents:
    """The folder ``sha256/``, and the ways in and out of it. The methods raise OSError."""

    def __init__(self, folder: Path, tmp: Path) -> None:
        """Use ``folder``, made if missing. Content that leaves it is deleted in ``tmp``."""
        self._folder = folder
        self._tmp = tmp
        folder.mkdir(parents=True, exist_ok=True)
        self.inventory = scan(folder)
        self._intact: set[str] = set()
        self._moving = threading.Lock()
        self._hashing = tuple(threading.Lock() for _ in range(16))
        self._trash: list[Path] = []
        self._number = itertools.count()

    def path(self, digest: str) -> Path:
        """Return where the content with ``digest`` is, or would be."""
        return self._folder / digest[:2] / digest

    def hold(self, digest: str) -> None:
        """Keep ``digest`` from being chosen for removal; wait for a removal that has begun."""
        with self._moving:
            self.inventory.hold(digest)

    def is_intact(self, digest: str) -> bool:
        """Return whether the content ``digest`` is here and undamaged; remove it if damaged.

        Content that was here at the start is hashed once in this process. Content that this process
        placed is not hashed again: it was hashed while it was copied. Nobody else writes here, but
        disks and people make mistakes.
        """
        with self._hashing[int(digest[0], 16)]:
            if self._is_known(digest):
                return True
            try:
                found = {name: sha256_of(self.path(digest) / name) for name in FILES}
            except OSError as error:
                if error.errno not in _UNREADABLE:
                    raise
                found = {}
            with self._moving:
                if digest_of(found) == digest:
                    self._intact.add(digest)
                elif not self._is_known(digest):
                    self._move_out(digest)
        self.empty_trash()
        return self._is_known(digest)

    def place(
        self, digest: str, folder: Path, size_bytes: int, choose: Callable[[], Sequence[str]]
    ) -> None:
        """Make ``folder`` the content with ``digest``, unless that is here already.

        The files are flushed to disk first. What ``choose`` returns is removed just before the
        content enters; when ``choose`` raises, nothing is removed.
        """
        # Outside the lock, because flushing several adapters at once costs little more than one.
        _flush(folder)
        with self._moving:
            if not self._is_known(digest):
                for chosen in choose():
                    self._move_out(chosen)
                self._move_in(folder, self.path(digest))
                self.inventory.add(digest, size_bytes)
                self._intact.add(digest)

    def remove(self, choose: Callable[[], Sequence[str]]) -> list[str]:
        """Remove what ``choose`` returns, and return it."""
        with self._moving:
            chosen = list(choose())
            for digest in chosen:
                self._move_out(digest)
        self.empty_trash()
        return chosen

    def mark(self, digest: str) -> None:
        """Write down that ``digest`` is used now, for ``scan`` after the next start."""
        now_ns = time.time_ns()
        with suppress(OSError):  # Only the order of removals depends on this.
            os.utime(self.path(digest), ns=(now_ns, now_ns))

    def empty_trash(self) -> None:
        """Delete what was moved out of the folder."""
        with self._moving:
            trash, self._trash = self._trash, []
        for folder in trash:
            with suppress(OSError):  # The next start tries again.
                fault_point("store.remove")
                shutil.rmtree(folder)

    def _is_known(self, digest: str) -> bool:
        return digest in self._intact and self.path(digest).is_dir()

    def _move_in(self, folder: Path, target: Path) -> None:
        if not target.parent.exists():
            target.parent.mkdir()
            fsync(self._folder)
        fault_point("store.rename")
        folder.rename(target)
        try:
            fault_point("store.rename")
            # After the rename: a folder that moves to another parent must be writable.
            target.chmod(READ_ONLY)
            fsync(target.parent)
        except OSError:
            target.chmod(0o755)
            target.rename(folder)
            raise

    def _move_out(self, digest: str) -> None:
        self._intact.discard(digest)
        target = self.path(digest)
        if target.exists():
            out = self._tmp / f"removed-{next(self._number)}"
            _rename_out(target, out)
            # Not flushed: what a power loss brings back is complete, or the next check finds out.
            self._trash.append(out)
        self.inventory.remove(digest)


def _rename_out(target: Path, out: Path) -> None:
    fault_point("store.remove")
    target.chmod(0o755)
    try:
        fault_point("store.remove")
        target.rename(out)
    except OSError:
        target.chmod(READ_ONLY)
        raise


def _flush(folder: Path) -> None:
    for name in FILES:
        (folder / name).chmod(0o444)
        fsync(folder / name)
    fsync(folder)
