"""From a source to verified content in the store: fetch, copy, verify, keep.

The copy is verified, never the source, so nothing can change between the check and the use. Files
are copied, hashed and verified in threads of their own, by default at most four adapters at a time.
"""

import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import structlog

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.artifact.opening import resolved
from veneer_adapters.catalog.revision import Revision, Source, SourceKind
from veneer_adapters.errors import (
    AdapterError,
    ContentLost,
    MissingFolder,
    PathNotAllowed,
    SourceNotAllowed,
    SourceUnavailable,
    StagingFull,
    quoted,
)
from veneer_adapters.publishing.uploads import Upload
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.fetching import Fetching, OnBytes
from veneer_adapters.store.store import Store
from veneer_adapters.threads import Threads, in_thread

logger = structlog.get_logger(__name__)

MOST_UPLOADS = 4
"""How many uploads come in at a time."""
_LOCAL = ("folder", "path", "upload")

Verify = Callable[[Path], Manifest]
"""Reads the files of a folder and returns their facts, or raises AdapterRejected."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Content that is verified and in the store."""

    digest: str
    path: Path
    manifest: Manifest
    source: Source
    """Where exactly it came from: for a name on the Hub, the commit that it meant."""


class Refused(Exception):
    """Content that was refused; ``digest`` identifies it, and is None when none was received."""

    def __init__(self, error: AdapterError, digest: str | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.digest = digest


def _unheard(done: int, total: int | None) -> None:
    """Ignore the progress of a fetch."""


def source_of(text: str) -> Source:
    """Return the source that ``text`` names: a URL of some scheme, or else a path on this server.

    Raises:
        SourceNotAllowed: there is no source for this scheme.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        return Source("path", text)
    if scheme not in get_args(SourceKind) or scheme in _LOCAL:
        raise SourceNotAllowed(f"Adapters cannot come from {quoted(scheme)} URLs.")
    return Source(cast(SourceKind, scheme), text)


class Intake:
    """The only way into the store. What was taken stays there until ``release``."""

    def __init__(
        self,
        store: Store,
        verify: Verify,
        *,
        roots: Sequence[Root] = (),
        fetching: Fetching | None = None,
        workers: int = 4,
    ) -> None:
        """Take what passes ``verify``, ``workers`` adapters at a time.

        A path that a request names must lie in one of ``roots``, as their links lead now. Without
        ``fetching`` nothing is fetched over a network.
        """
        self._store = store
        self._verify = verify
        self._roots = tuple(root.resolved() for root in roots)
        self._fetching = fetching
        self._threads = Threads("intake", workers)
        self._receiving = 0

    async def take(
        self, source: Source, *, root: Root | None = None, on_bytes: OnBytes = _unheard
    ) -> Taken:
        """Return what ``source`` holds now, verified and stored.

        A local folder must, after links are resolved, lie inside ``root``, which is resolved;
        without ``root``, inside one of the roots. An upload needs its folder as the ``root``.

        Raises:
            Refused: its ``error`` says why; nothing was kept.
        """
        try:
            with source_errors():
                if source.kind in _LOCAL:
                    return await self._threads.run(self._take_folder, source, root)
                async with self.borrowed(source, on_bytes) as (at, exact):
                    return await self._threads.run(self._keep, at, exact)
        except AdapterError as error:
            raise Refused(error, None) from error

    def check(self, source: Source) -> None:
        """Return when ``source`` may be asked. This method asks and reads nothing.

        Raises:
            PathNotAllowed, SourceNotAllowed: it may not be asked.
        """
        if source.kind in ("folder", "path"):
            _inside(Path(source.location), self._roots)
        elif self._fetching is None:
            raise SourceNotAllowed("This server does not fetch adapters over a network.")
        else:
            self._fetching.check(source.location)

    def locate(self, source: Source) -> tuple[Path, Root]:
        """Return the folder that a request names, without links, and the root in which it lies.

        Raises:
            PathNotAllowed: it lies in none.
            MissingFile: there is no such folder.
        """
        return _existing(Path(source.location), self._roots)

    def close(self) -> None:
        """Begin to take nothing more."""
        self._threads.close()

    def release(self, taken: Taken) -> None:
        """Say that the catalog knows ``taken`` now, or never will; the store may then remove it."""
        self._store.release(taken.digest)

    async def restore(self, revision: Revision) -> None:
        """Fetch the content of ``revision`` from its source again and store it.

        Raises:
            AdapterRejected: its source has other content now, or is no longer allowed.
            AdapterUnavailable: its source or the disk does not work now.
        """
        try:
            taken = await self.take(revision.source)
        except Refused as refused:
            raise refused.error from refused
        self.release(taken)
        if taken.digest != revision.digest:
            raise ContentLost(f"The source of {quoted(revision.label)} has other content now.")

    @asynccontextmanager
    async def borrowed(
        self, source: Source, on_bytes: OnBytes = _unheard
    ) -> AsyncIterator[tuple[Path, Source]]:
        """Give a folder with what ``source``, a URL, holds now, and where exactly that came from.

        The folder is removed after the block, also when the block is cancelled.

        Raises:
            AdapterError: the source is not allowed or cannot be read.
        """
        if self._fetching is None:
            raise SourceNotAllowed("This server does not fetch adapters over a network.")
        async with self._lent_folder() as into:
            fetched = await self._fetching.fetch(source.location, into, on_bytes)
            yield fetched.folder, replace(source, location=fetched.pinned)

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Upload]:
        """Give an upload to which files may come; what came is removed after the block.

        Raises:
            StagingFull: as many uploads come in already as may.
            StorageFailed: there is no room for it.
        """
        if self._receiving >= MOST_UPLOADS:
            raise StagingFull(f"{MOST_UPLOADS} adapters are being uploaded already; try again.")
        self._receiving += 1
        try:
            async with self._lent_folder() as into:
                yield Upload(into, max_bytes=self._store.max_bytes)
        finally:
            self._receiving -= 1

    @asynccontextmanager
    async def _lent_folder(self) -> AsyncIterator[Path]:
        into = self._store.free_path()
        try:
            await in_thread(self._store.make_folder, into)  # whoever goes meanwhile leaves nothing
            yield into
        finally:
            await in_thread(shutil.rmtree, into, ignore_errors=True)

    def _take_folder(self, source: Source, watched: Root | None) -> Taken:
        if source.kind == "upload":
            if watched is None:
                raise ContentLost("The files were uploaded, and nobody else has them.")
            return self._keep(watched.path, source, watched.path)
        path = Path(source.location)
        # A watched folder may be gone only for a moment; a path in a request is simply wrong.
        found = _existing(path, self._roots) if watched is None else _inside(path, (watched,))
        return self._keep(found[0], source, found[1].path)

    def _keep(self, folder: Path, source: Source, root: Path | None = None) -> Taken:
        received = self._store.receive(folder, root)
        try:
            with source_errors():
                manifest = self._verify(received.path)
                path = self._store.keep(received)
        except AdapterError as error:
            raise Refused(error, received.digest) from error
        finally:
            self._store.discard(received)
        return Taken(received.digest, path, manifest, source)


@contextmanager
def source_errors() -> Iterator[None]:
    """Make an error that a source did not foresee one of its errors: it costs this source only."""
    try:
        yield
    except OSError as error:
        what = os.strerror(error.errno or errno.EIO)
        raise SourceUnavailable(f"The source could not be read: {what}.") from error
    except (ValueError, RuntimeError) as error:
        logger.error("source failed", why=quoted(error), exc_info=error)
        raise SourceUnavailable("The source could not be read; the log has the error.") from error


def _inside(folder: Path, roots: Sequence[Root]) -> tuple[Path, Root]:
    # The resolved path is used from here on, so a link that is exchanged later changes nothing.
    path = _without_links(folder)
    for root in roots:
        if path.is_relative_to(root.path):
            return path, root
    raise PathNotAllowed("The path is not inside a folder that adapters may come from.")


def _existing(folder: Path, roots: Sequence[Root]) -> tuple[Path, Root]:
    path, root = _inside(folder, roots)
    if not _is_folder(path):
        raise MissingFolder("There is no such folder.")
    return path, root


def _without_links(folder: Path) -> Path:
    try:
        return resolved(folder)
    except OSError:
        return Path(os.path.realpath(folder))


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
