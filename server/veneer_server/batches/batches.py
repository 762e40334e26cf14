"""Batches: what an owner can do with them, and what their runner writes down."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from veneer_adapters.catalog.database import Database
from veneer_adapters.threads import to_its_end
from veneer_server.batches.errors import (
    BatchesFull,
    BatchesUnavailable,
    BatchNotFound,
    BatchRefused,
)
from veneer_server.batches.folders import Folders
from veneer_server.batches.records import Batch, Progress, Status, is_id, new_id
from veneer_server.batches.sql import rows
from veneer_server.files.files import Files
from veneer_server.files.records import Purpose
from veneer_server.tenancy.principals import Principal
from veneer_server.worklist.kept import KeptWork
from veneer_server.worklist.pages import Page

WINDOW = "24h"
_WINDOW_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a batch may have, and how many there may be."""

    max_lines: int
    max_bytes: int
    unfinished: int
    """Batches of one tenant that have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for."""

    input_file: str
    endpoint: str
    metadata: dict[str, str] | None
    output_expires_s: int | None


class Batches(KeptWork[Batch]):
    """The batches of one database.

    Every method raises BatchesUnavailable when the database or the disk cannot be read or written.
    """

    def __init__(
        self,
        database: Database,
        files: Files,
        folders: Folders,
        bounds: Bounds,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep rows in ``database``, and what is being worked on in ``folders``."""
        super().__init__(database, rows.work, _unavailable, now=now)
        self.files = files
        self.folders = folders
        self.bounds = bounds
        self.arrived = asyncio.Event()
        """Set when there is something new to do."""

    async def create(self, who: Principal, asked: Asked) -> Batch:
        """Make a batch; it is validated and answered later.

        When the caller is cancelled meanwhile, there is a whole batch or none.

        Raises:
            FileNotFound: the asker has no such file.
            BatchRefused: the file is not for batches, or too large.
            BatchesFull: the asker has too many unfinished batches.
        """
        return await to_its_end(self._create(who, asked))

    async def _create(self, who: Principal, asked: Asked) -> Batch:
        file = await self.files.find(who.owner, asked.input_file, param="input_file_id")
        if file.purpose != Purpose.BATCH:
            raise BatchRefused(
                f"The purpose of the file must be 'batch', not '{file.purpose}'.",
                param="input_file_id",
            )
        if file.size_bytes > self.bounds.max_bytes:
            raise BatchRefused(
                f"The file has {file.size_bytes} bytes, more than the limit of"
                f" {self.bounds.max_bytes} of a batch.",
                param="input_file_id",
            )
        batch_id = new_id()
        with await self.files.open(file) as content:
            await asyncio.to_thread(self.folders.begin, batch_id, content)
        try:
            batch = await self._insert(batch_id, who, asked)
        except BaseException:
            await asyncio.to_thread(self.folders.end, batch_id)
            raise
        self.arrived.set()
        return batch

    async def _insert(self, batch_id: str, who: Principal, asked: Asked) -> Batch:
        async with self._writing() as (connection, number):
            count = await rows.work.count_unfinished(connection, who.owner)
            if count >= self.bounds.unfinished:
                raise BatchesFull(
                    f"You have {count} batches that have not ended, which is as many as you may"
                    " have. Wait for one, or cancel one."
                )
            now = self.now
            batch = Batch(
                id=batch_id,
                owner=who.owner,
                tenant=who.tenant,
                key=who.key_id,
                number=number,
                endpoint=asked.endpoint,
                input_file=asked.input_file,
                created=now,
                expires=now + _WINDOW_S,
                metadata=asked.metadata,
                output_expires_s=asked.output_expires_s,
            )
            await rows.insert(connection, batch)
        return batch

    async def find(self, owner: str, batch_id: str) -> Batch:
        """Return the batch; raises BatchNotFound."""
        found = await self.look(batch_id) if is_id(batch_id) else None
        if found is None or found.owner != owner:
            raise BatchNotFound(batch_id)
        return found

    async def page(self, owner: str, *, after: str | None, limit: int) -> Page[Batch]:
        """Return a page of the owner's batches, the newest first.

        Raises:
            BatchNotFound: the batch ``after`` is not among them.
        """
        last = None if after is None else await self.find(owner, after)
        async with self._reading() as connection:
            return await rows.work.page(
                connection, owner, after=None if last is None else last.number, limit=limit
            )

    async def cancel(self, owner: str, batch_id: str) -> Batch:
        """Let the batch end soon, and return it; lines that were answered stay answered.

        Raises:
            BatchNotFound: the owner has no such batch.
            BatchRefused: it has ended, or is about to.
        """
        await self.find(owner, batch_id)

        def cancelling(batch: Batch) -> Batch:
            if batch.status is Status.CANCELLING:
                return batch
            if batch.status not in (Status.VALIDATING, Status.IN_PROGRESS):
                raise BatchRefused(f"Cannot cancel a batch with status '{batch.status}'.")
            return batch.moved(Status.CANCELLING, self.now)

        changed = await self.change(batch_id, cancelling)
        self.arrived.set()
        return changed

    async def note(self, batch_id: str, progress: Progress) -> None:
        """Write how far a batch is, and that its runner lives."""
        async with self._told(), self._database.noting() as connection:
            await rows.note(connection, batch_id, progress, self.now)

    async def change(self, batch_id: str, act: Callable[[Batch], Batch]) -> Batch:
        """Write what ``act`` makes of the batch as it is now, all but its progress; return it."""
        async with self._writing() as (connection, _):
            found = await rows.work.find(connection, batch_id)
            if found is None:
                raise BatchNotFound(batch_id)
            changed = act(found)
            await rows.replace(connection, changed)
        return changed


def _unavailable() -> BatchesUnavailable:
    return BatchesUnavailable("The server cannot read or write batches now. Try again later.")
