"""Verified adapters on disk, addressed by what they contain.

    <root>/sha256/ab/abcdef.../adapter_config.json, adapter_model.safetensors   read-only
    <root>/tmp/                                                  copies not verified yet

Rule 1: what lies under ``sha256/`` is complete, never changes and is what its name says.
Rule 2: it gets there by one rename, after everything in it was flushed to disk.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.artifact import FILES, require_files
from veneer_adapters.copying import copy_hashing, fsync, sha256_of
from veneer_adapters.errors import SourceChanging, StorageFailed

_DEFAULT_MAX_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Received:
    """A private copy of an artifact, waiting to be verified; ends in ``keep`` or ``discard``."""

    digest: str
    path: Path


class Store:
    """The content-addressed folder. All methods block and may be called from any thread."""

    def __init__(self, root: Path, *, max_bytes: int = _DEFAULT_MAX_BYTES) -> None:
        """Open the store at ``root``, made if need be; leftovers of a crash are removed.

        ``max_bytes`` is the most the files of one adapter may weigh together.
        """
        self._content = root / "sha256"
        self._tmp = root / "tmp"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._intact: set[str] = set()
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._content.mkdir(parents=True, exist_ok=True)
        self._tmp.mkdir(exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where the content with ``digest`` is, or would be."""
        return self._content / digest[:2] / digest

    def has(self, digest: str) -> bool:
        """Return whether the content with ``digest`` is stored."""
        return self.path(digest).is_dir()

    def find(self, digest: str) -> Path | None:
        """Return where the content with ``digest`` is, or None when it is not stored."""
        return self.path(digest) if self.has(digest) else None

    def put(self, folder: Path) -> tuple[str, Path]:
        """Store the artifact in ``folder`` unverified; return its digest and stored path.

        Raises what ``receive`` and ``keep`` raise. Storing the same content again is a no-op.
        """
        received = self.receive(folder)
        return received.digest, self.keep(received)

    def receive(self, folder: Path) -> Received:
        """Return a copy of the artifact in ``folder`` as it was at one instant.

        Raises:
            AdapterRejected: a file is missing, too large, or leaves the folder.
            SourceChanging: the files changed while they were read.
            StorageFailed: reading or writing failed.
        """
        with _storage_errors():
            copy = Path(tempfile.mkdtemp(dir=self._tmp))
        try:
            with _storage_errors():
                digest = digest_of(self._copy(folder, copy))
        except BaseException:
            shutil.rmtree(copy)
            raise
        return Received(digest, copy)

    def keep(self, received: Received) -> Path:
        """Make ``received`` part of the store and return where it is now.

        Afterwards it survives a power loss. A stored copy that was damaged is replaced.

        Raises:
            StorageFailed: the disk is full or not writable.
        """
        target = self.path(received.digest)
        with _storage_errors():
            if not self._is_intact(received.digest):
                # Not under the lock: flushes of several adapters cost hardly more than one.
                self._flush(received.path)
                with self._lock:
                    self._move_in(received, target)
            self._intact.add(received.digest)
        self.discard(received)
        return target

    def discard(self, received: Received) -> None:
        """Remove ``received``; safe after ``keep`` and to do twice."""
        shutil.rmtree(received.path, ignore_errors=True)

    def _copy(self, folder: Path, copy: Path) -> dict[str, str]:
        try:
            require_files(folder)
        except FileNotFoundError:
            raise SourceChanging("The adapter's folder vanished while it was read.") from None
        return copy_hashing(folder, FILES, copy, limit_bytes=self._max_bytes)

    def _flush(self, folder: Path) -> None:
        for name in FILES:
            (folder / name).chmod(0o444)
            fsync(folder / name)
        fsync(folder)

    def _move_in(self, received: Received, target: Path) -> None:
        if received.digest in self._intact:
            return  # Another thread had the same content and was faster.
        if target.exists():
            target.chmod(0o755)
            target.rename(self._tmp / f"damaged-{received.path.name}")
        if not target.parent.exists():
            target.parent.mkdir()
            fsync(self._content)
        received.path.rename(target)
        # After the rename: moving a folder between parents needs write permission on it.
        target.chmod(0o555)
        fsync(target.parent)
        self._intact.add(received.digest)

    def _is_intact(self, digest: str) -> bool:
        # Once per process: nobody but us writes here, but disks and people make mistakes.
        if digest in self._intact:
            return True
        path = self.path(digest)
        try:
            return digest_of({name: sha256_of(path / name) for name in FILES}) == digest
        except FileNotFoundError:
            return False


def digest_of(hashes: Mapping[str, str]) -> str:
    """Return the identity of an artifact, given the sha256 of each of its files in hex."""
    canonical = json.dumps(dict(hashes), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Without the path: this sentence reaches clients.
        what = os.strerror(error.errno or errno.EIO)
        raise StorageFailed(f"The adapter's files could not be copied: {what}.") from error
