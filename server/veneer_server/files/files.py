"""Files: what an owner can do with them.

Rule: a row comes after its content and goes before it. Who adds a row, and who removes a content
that no row has, takes the same turn, also across servers. So no row ever lacks its content.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable
from veneer_adapters.threads import in_thread
from veneer_server.files import rows
from veneer_server.files.contents import Arriving, Contents
from veneer_server.files.errors import (
    FileNotFound,
    FileRefused,
    FilesFull,
    FilesUnavailable,
    UploadsFull,
    short_id,
)
from veneer_server.files.records import Page, StoredFile, is_id, new_id

_MOST_UPLOADS, _MOST_OF_ONE = 32, 4
_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is kept."""

    max_bytes: int
    """Of one file."""
    tenant_bytes: int
    tenant_files: int


@dataclass(frozen=True, slots=True)
class Named:
    """What a new file is called, and for how long it stays."""

    filename: str
    purpose: str
    lasts_s: int | None
    """Counted from when it is made; None: until somebody deletes it."""


class Files:
    """The files of one database.

    Every method raises FilesUnavailable when the database or the disk cannot be read or written.
    """

    def __init__(
        self,
        database: Database,
        contents: Contents,
        bounds: Bounds,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep rows in ``database`` and bytes in ``contents``."""
        self._database = database
        self.contents = contents
        self.bounds = bounds
        self._now = now
        self._uploads: Counter[str] = Counter()

    @property
    def now(self) -> int:
        """The time, in seconds since the epoch."""
        return int(self._now())

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self._database.shared

    @asynccontextmanager
    async def receiving(self, owner: str) -> AsyncIterator[Arriving]:
        """Give a content that comes in; at the end of the block it is gone unless it was added.

        Raises:
            UploadsFull: too many come in already.
            DiskFull: it cannot be written.
        """
        with self._counted(owner):
            async with self._arriving(self.bounds.max_bytes) as arriving:
                yield arriving

    async def add(self, owner: str, arriving: Arriving, named: Named) -> StoredFile:
        """Keep what arrived as a file of ``owner``; it survives a power loss from then on.

        Raises:
            FileRefused: it is empty.
            FilesFull: with it the owner would have more than it may have.
            DiskFull: it cannot be written.
        """
        if arriving.size_bytes == 0:
            raise FileRefused("Invalid file: it is empty.", param="file")
        await asyncio.to_thread(arriving.finish)
        async with self._writing() as (connection, number):
            await self._require_room(connection, owner, arriving.size_bytes)
            file = self._named(owner, arriving, named, number, new_id())
            await self._insert(connection, file, arriving)
        return file

    async def make(self, owner: str, content: BinaryIO, named: Named, file_id: str) -> StoredFile:
        """Keep what ``content`` has as a file that the server itself makes for ``owner``.

        The bounds of uploads do not apply. When there is a file with this id, nothing changes.

        Raises:
            DiskFull: it cannot be written.
        """
        async with self._arriving(sys.maxsize) as arriving:
            await asyncio.to_thread(_copy, content, arriving)
            async with self._writing() as (connection, number):
                found = await rows.find(connection, owner, file_id, now=self.now)
                if found is None:
                    found = self._named(owner, arriving, named, number, file_id)
                    await self._insert(connection, found, arriving)
        return found

    async def require_room(self, owner: str, size_bytes: int = 0) -> None:
        """Return if the owner may have one more file of this size; raises FilesFull."""
        async with self._reading() as connection:
            await self._require_room(connection, owner, size_bytes)

    async def find(self, owner: str, file_id: str, *, param: str = "id") -> StoredFile:
        """Return the file; raises FileNotFound, which says that ``param`` named it."""
        found = None
        if is_id(file_id):
            async with self._reading() as connection:
                found = await rows.find(connection, owner, file_id, now=self.now)
        if found is None:
            raise FileNotFound(file_id, param=param)
        return found

    async def open(self, file: StoredFile) -> BinaryIO:
        """Open its content to read it; the caller must close it."""
        return await asyncio.to_thread(self.contents.open, file.digest)

    async def page(
        self, owner: str, *, purpose: str | None, after: str | None, limit: int, newest: bool
    ) -> Page:
        """Return a page of the owner's files.

        Raises:
            FileRefused: the file ``after`` is not among them.
        """
        async with self._reading() as connection:
            last = None
            if after is not None:
                if is_id(after):
                    last = await rows.find(connection, owner, after, now=self.now)
                if last is None:
                    raise FileRefused(
                        f"There is no file with id '{short_id(after)}' in this list.", param="after"
                    )
            return await rows.page(
                connection,
                owner,
                purpose=purpose,
                after=last,
                limit=limit,
                newest=newest,
                now=self.now,
            )

    async def delete(self, owner: str, file_id: str) -> None:
        """Remove the file, and its content unless another file has the same; see FileNotFound."""
        digest = None
        if is_id(file_id):
            async with self._writing() as (connection, _):
                digest = await rows.delete(connection, owner, file_id, now=self.now)
        if digest is None:
            raise FileNotFound(file_id)
        await self.remove_unused({digest})

    async def delete_expired(self) -> None:
        """Remove every file whose time is over, with its content."""
        while True:
            async with self._writing() as (connection, _):
                digests = await rows.delete_expired(connection, now=self.now)
            if digests is None:
                return
            await self.remove_unused(digests)

    async def remove_unused(self, digests: Collection[str]) -> None:
        """Remove the contents of ``digests``, at most ``rows.BATCH``, that no file has."""
        async with self._writing() as (connection, _):
            for digest in set(digests) - await rows.used(connection, digests):
                await in_thread(self.contents.remove, digest)

    def _named(
        self, owner: str, arriving: Arriving, named: Named, number: int, file_id: str
    ) -> StoredFile:
        now = self.now
        return StoredFile(
            id=file_id,
            owner=owner,
            number=number,
            filename=named.filename,
            purpose=named.purpose,
            size_bytes=arriving.size_bytes,
            created=now,
            expires=None if named.lasts_s is None else now + named.lasts_s,
            digest=arriving.digest,
        )

    async def _insert(
        self, connection: AsyncConnection, file: StoredFile, arriving: Arriving
    ) -> None:
        await in_thread(self.contents.keep, arriving)
        await rows.insert(connection, file)

    async def _require_room(self, connection: AsyncConnection, owner: str, size_bytes: int) -> None:
        count, total_bytes = await rows.weigh(connection, owner, now=self.now)
        if count >= self.bounds.tenant_files:
            raise FilesFull(
                f"You have {count} files, which is as many as you may have. Delete some first."
            )
        if total_bytes + size_bytes > self.bounds.tenant_bytes:
            raise FilesFull(
                f"Your files have {total_bytes} bytes, and with {size_bytes} more they would have"
                f" more than the limit of {self.bounds.tenant_bytes}. Delete some first."
            )

    @asynccontextmanager
    async def _arriving(self, max_bytes: int) -> AsyncIterator[Arriving]:
        """Give a content that comes in, and discard it, also when this is cancelled at once."""
        begun: list[Arriving] = []
        try:
            await in_thread(lambda: begun.append(self.contents.receive(max_bytes=max_bytes)))
            yield begun[0]
        finally:
            for arriving in begun:
                await asyncio.to_thread(arriving.discard)

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        if self._uploads.total() >= _MOST_UPLOADS or self._uploads[owner] >= _MOST_OF_ONE:
            raise UploadsFull("Too many uploads run at the same time. Try again later.")
        self._uploads[owner] += 1
        try:
            yield
        finally:
            self._uploads[owner] -= 1
            self._uploads += Counter()  # forget who uploads nothing

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        try:
            async with self._database.writing() as given:
                yield given
        except AdapterUnavailable as error:
            raise FilesUnavailable("The server cannot write files now. Try later.") from error

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.reading() as connection:
                yield connection
        except AdapterUnavailable as error:
            raise FilesUnavailable("The server cannot read files now. Try later.") from error


def _copy(content: BinaryIO, arriving: Arriving) -> None:
    while part := content.read(_PART_BYTES):
        arriving.write(part)
    arriving.finish()
