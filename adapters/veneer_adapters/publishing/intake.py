"""From a source to verified content in the store: fetch, copy, verify, keep.

The copy is verified, never the source, so nothing can change between the check and the use. Files
are copied, hashed and verified in threads, by default at most four adapters at a time.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.catalog.revision import Revision, Source, SourceKind
from veneer_adapters.errors import (
    AdapterError,
    ContentLost,
    MissingFile,
    PathNotAllowed,
    SourceNotAllowed,
    quoted,
)
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.fetching import Fetching, OnBytes
from veneer_adapters.store.store import Store

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
    if scheme not in get_args(SourceKind) or scheme in ("folder", "path"):
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

        A path that a request names must lie in one of ``roots``. Without ``fetching`` nothing is
        fetched over a network.
        """
        self._store = store
        self._verify = verify
        self._roots = tuple(roots)
        self._fetching = fetching
        self._free_workers = asyncio.Semaphore(workers)

    async def take(
        self, source: Source, *, root: Root | None = None, on_bytes: OnBytes = _unheard
    ) -> Taken:
        """Return what ``source`` holds now, verified and stored.

        A local folder must, after links are resolved, lie inside ``root``; without ``root``, inside
        one of the roots.

        Raises:
            Refused: its ``error`` says why; nothing was kept.
        """
        if source.kind in ("folder", "path"):
            roots = self._roots if root is None else (root,)
            folder = Path(source.location)
            async with self._free_workers:
                return await asyncio.to_thread(
                    self._take_folder, folder, source, roots, is_watched=root is not None
                )
        return await self._take_remote(source, on_bytes)

    def check(self, source: Source) -> None:
        """Return when ``source`` may be asked. This method asks and reads nothing.

        Raises:
            PathNotAllowed, SourceNotAllowed: it may not be asked.
        """
        if source.kind in ("folder", "path"):
            _resolved(Path(source.location), self._roots)
        elif self._fetching is None:
            raise SourceNotAllowed("This server does not fetch adapters over a network.")
        else:
            self._fetching.check(source.location)

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
        """Give a folder with what ``source`` holds now, and where exactly that came from.

        A fetched folder is removed after the block, also when the block is cancelled.

        Raises:
            AdapterError: the source is not allowed or cannot be read.
        """
        if source.kind in ("folder", "path"):
            yield _resolved(Path(source.location), self._roots), source
            return
        if self._fetching is None:
            raise SourceNotAllowed("This server does not fetch adapters over a network.")
        into = await asyncio.to_thread(self._store.make_folder)
        try:
            fetched = await self._fetching.fetch(source.location, into, on_bytes)
            yield fetched.folder, replace(source, location=fetched.pinned)
        finally:
            await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)

    async def _take_remote(self, source: Source, on_bytes: OnBytes) -> Taken:
        try:
            async with self.borrowed(source, on_bytes) as (folder, exact), self._free_workers:
                return await asyncio.to_thread(self._keep, folder, exact)
        except AdapterError as error:
            raise Refused(error, None) from error

    def _take_folder(
        self, folder: Path, source: Source, roots: Sequence[Root], *, is_watched: bool
    ) -> Taken:
        try:
            inside = _resolved(folder, roots)
            # A watched folder may be gone only for a moment; a path in a request is simply wrong.
            if not is_watched and not inside.is_dir():
                raise MissingFile("There is no such folder.")
        except AdapterError as error:
            raise Refused(error, None) from error
        return self._keep(inside, source)

    def _keep(self, folder: Path, source: Source) -> Taken:
        digest = None
        try:
            received = self._store.receive(folder)
            digest = received.digest
            try:
                manifest = self._verify(received.path)
                path = self._store.keep(received)
            finally:
                self._store.discard(received)
        except AdapterError as error:
            raise Refused(error, digest) from error
        return Taken(digest, path, manifest, source)


def _resolved(folder: Path, roots: Sequence[Root]) -> Path:
    # The resolved path is used from here on, so a link that is exchanged later changes nothing.
    resolved = folder.resolve()
    if any(resolved.is_relative_to(root.path.resolve()) for root in roots):
        return resolved
    raise PathNotAllowed("The path is not inside a folder that adapters may come from.")
