"""Verified adapters on disk, addressed by the digest of their content.

    <root>/sha256/ab/abcdef.../adapter_config.json, adapter_model.safetensors   read-only
    <root>/tmp/                                  copies not verified yet, content being removed

Rule 1: content under ``sha256/`` is complete, never changes and matches the digest in its name.
Rule 2: it gets there by one rename, after everything in it was flushed to disk.
Rule 3: it leaves by one rename, and only when it is damaged or nobody needs it.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from veneer_adapters.errors import CacheFull, StorageFailed
from veneer_adapters.store.contents import Contents
from veneer_adapters.store.receiving import Received, receive, size_bytes
from veneer_adapters.store.room import Room, usual_quota_bytes

_DEFAULT_MAX_BYTES = 4 << 30
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Store:
    """The content-addressed folder, for one process. Any thread may call any method.

    Every method may block on the disk, except ``path``, ``release`` and ``total_bytes``; ``used``
    only sets the times of one folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int = _DEFAULT_MAX_BYTES,
        quota_bytes: int | None = None,
        needed: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """Open the store at ``root``, made if missing; remove what a crash left in ``tmp``.

        The files of one adapter may have ``max_bytes`` together, and all content ``quota_bytes``,
        by default what ``usual_quota_bytes`` says of the disk. ``needed`` returns the digests that
        must stay; it answers from memory and must not call the store. Without it all content must
        stay.
        """
        self._tmp = root / "tmp"
        self.max_bytes = max_bytes
        # Safe because the state folder is locked: no other server's copies can lie here.
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir(parents=True, exist_ok=True)
        self._contents = Contents(root / "sha256", self._tmp)
        self._inventory = self._contents.inventory
        if quota_bytes is None:
            free_bytes = shutil.disk_usage(root).free
            quota_bytes = usual_quota_bytes(self._inventory.total_bytes, free_bytes)
        self._room = Room(self._inventory, quota_bytes, needed)

    @property
    def total_bytes(self) -> int:
        """The size of all stored files together, in bytes."""
        return self._inventory.total_bytes

    def path(self, digest: str) -> Path:
        """Return where the content with ``digest`` is, or would be."""
        return self._contents.path(digest)

    def check(self, digest: str) -> bool:
        """Return whether the content with ``digest`` is stored and matches its digest.

        Content that was stored before this process started is hashed at its first check; content
        that this process stored is not hashed again. Damaged content is removed.

        Raises:
            StorageFailed: it could not be read at this moment.
        """
        with _storage_errors():
            return self._contents.is_intact(digest)

    def used(self, digest: str) -> None:
        """Note that ``digest`` is used now; the order of use survives a restart."""
        if self._inventory.use(digest):
            self._contents.mark(digest)

    def free_path(self) -> Path:
        """Return where a folder can be made on the store's disk; nobody else gets this path."""
        return self._tmp / secrets.token_hex(16)

    def make_folder(self, path: Path) -> None:
        """Make a folder at a ``free_path``. The caller fills it and removes it."""
        with _storage_errors():
            path.mkdir(mode=0o700)

    def receive(self, folder: Path, root: Path | None = None) -> Received:
        """Return a copy of the artifact in ``folder`` as it was at one instant.

        Nothing outside ``root`` is read, which is resolved; without it, nothing outside ``folder``.

        Raises:
            AdapterRejected: a file is missing, too large, or leaves the root.
            SourceChanging: the files changed while they were read.
            CacheFull: the disk is full, also after everything that nobody needs was removed.
            StorageFailed: reading or writing failed.
        """
        with _storage_errors():
            try:
                return self._receive(folder, root)
            except OSError as error:
                if not self._makes_room(error, size_bytes(folder)):
                    raise
                return self._receive(folder, root)

    def keep(self, received: Received) -> Path:
        """Make ``received`` part of the store and return where it is now.

        Afterwards it survives a power loss, and it stays until ``release``, whatever ``needed``
        says. A damaged stored copy is replaced.

        Raises:
            CacheFull: the disk or the quota is full of content that is needed.
            StorageFailed: the disk cannot be written.
        """
        digest = received.digest
        self._contents.hold(digest)
        try:
            with _storage_errors():
                if not self._contents.is_intact(digest):
                    self._keep(received)
        except BaseException:
            self.release(digest)
            raise
        self._inventory.use(digest)
        self._contents.mark(digest)
        self.discard(received)
        return self.path(digest)

    def release(self, digest: str) -> None:
        """End the hold of one ``keep``: ``needed`` returns ``digest`` now, or never will."""
        self._inventory.release(digest)

    def discard(self, received: Received) -> None:
        """Remove ``received``; calling this after ``keep``, or twice, is safe."""
        shutil.rmtree(received.path, ignore_errors=True)

    def _receive(self, folder: Path, root: Path | None = None) -> Received:
        return receive(folder, self._tmp, max_bytes=self.max_bytes, root=root)

    def _keep(self, received: Received) -> None:
        try:
            self._place(received)
        except OSError as error:
            if not self._makes_room(error, received.size_bytes):
                raise
            # A new copy, because what a failed flush left of the first one cannot be trusted.
            again = self._receive(received.path)
            try:
                if again.digest != received.digest:
                    raise
                self._place(again)
            finally:
                self.discard(again)

    def _place(self, received: Received) -> None:
        try:
            self._contents.place(
                *(received.digest, received.path, received.size_bytes),
                choose=lambda: self._room.choose_for(received.size_bytes),
            )
        finally:
            self._contents.empty_trash()

    def _makes_room(self, error: OSError, wanted_bytes: int) -> bool:
        if error.errno not in _FULL:
            return False
        return bool(self._contents.remove(lambda: self._room.choose_to_free(wanted_bytes)))


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Without the path: this sentence reaches clients.
        what = os.strerror(error.errno or errno.EIO)
        leaf = CacheFull if error.errno in _FULL else StorageFailed
        raise leaf(f"The adapter's files could not be read or stored: {what}.") from error
