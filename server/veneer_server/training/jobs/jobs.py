"""Fine-tuning jobs: what an owner can do with them, and what their runner writes down."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.threads import in_thread, to_its_end
from veneer_server.tenancy.principals import Principal
from veneer_server.training.jobs import rules
from veneer_server.training.jobs.errors import JobNotFound, JobsFull
from veneer_server.training.jobs.folders import Folders, disk
from veneer_server.training.jobs.keeping import Act, KeptJobs
from veneer_server.training.jobs.naming import adapter_of
from veneer_server.training.jobs.preparing import Preparing, Ready
from veneer_server.training.jobs.records import (
    Event,
    FineTuningJob,
    Published,
    is_id,
    new_id,
    new_short_id,
)
from veneer_server.training.jobs.rules import Asked
from veneer_server.training.jobs.sql import parts, rows
from veneer_server.training.jobs.starting import Starts
from veneer_server.training.jobs.trainable import Trainable
from veneer_server.worklist.pages import Page, cut

MOST_FOLLOWED = 100
"""How many clients may follow jobs at a time: each costs a look into the database a second."""


class Jobs(KeptJobs):
    """The jobs of one database, and the folders of those that have not ended.

    Every method raises JobsUnavailable when the database or the disk cannot be read or written.
    """

    def __init__(
        self,
        database: Database,
        folders: Folders,
        preparing: Preparing,
        trainable: Callable[[], Trainable],
        starts: Starts,
        *,
        unfinished: int,
        organization: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep rows in ``database``; one tenant has at most so many ``unfinished`` jobs.

        ``trainable`` raises TrainingImpossible when this server cannot train.
        """
        super().__init__(database, now=now)
        self._preparing = preparing
        self._trainable = trainable
        self._starts = starts
        self._followed = 0
        self._unfinished = unfinished
        self._organization = organization
        self.folders = folders
        self.arrived = asyncio.Event()
        """Set when there is something new to do."""
        self.cancelled: list[str] = []
        """Jobs that were cancelled here, whose folders may still be there."""

    async def create(self, who: Principal, asked: Asked) -> FineTuningJob:
        """Make a job; its files are validated whole before it is there.

        A caller that is cancelled leaves a whole job or none.

        Raises:
            TrainingImpossible: this server cannot train.
            JobRefused: a value is impossible.
            AdapterError: the adapter from which it should go on is not there.
            FileNotFound: the asker has no such file.
            TrainingFileError: rows are wrong; the message names their lines.
            JobsFull: the asker has too many unfinished jobs.
        """
        trainable = await asyncio.to_thread(self._trainable)
        start = self._starts.find(asked.model, trainable.base.names)
        rules.require_possible(asked, trainable.base, start)
        adapter = adapter_of(who.tenant, new_short_id())
        async with self._reading() as connection:
            await self._require_room(connection, who.owner)
        files = await self._preparing.find(who, asked)
        job_id = new_id()
        async with self._or_no_folder(job_id):
            folder = await in_thread(self.folders.begin, job_id)
            if start is not None:
                await self._starts.copy(start, folder / rules.START)
            ready = await self._preparing.prepare(
                job_id, files, asked.method, trainable.renderer, trainable.base
            )
        return await to_its_end(self._insert(job_id, who, asked, adapter, ready, trainable, start))

    @asynccontextmanager
    async def _or_no_folder(self, job_id: str) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await in_thread(self.folders.end, job_id)
            raise

    async def _insert(
        self,
        job_id: str,
        who: Principal,
        asked: Asked,
        adapter: str,
        ready: Ready,
        trainable: Trainable,
        start: Revision | None,
    ) -> FineTuningJob:
        items, seed = ready.trained.items(asked.method), random.randrange(2**31)  # noqa: S311
        async with self._or_no_folder(job_id), self._writing() as (connection, number):
            await self._require_room(connection, who.owner)
            job = FineTuningJob(
                id=job_id,
                owner=who.owner,
                tenant=who.tenant,
                number=number,
                adapter=adapter,
                organization=who.tenant or self._organization,
                recipe=rules.to_recipe(
                    asked, items, seed, trainable.base, data=ready.data, start=start
                ),
                created=self.now,
            )
            work = rules.to_work(job, items, trainable.base, trainable.means)
            with disk():
                await asyncio.to_thread(work.write, self.folders.of(job_id))
            await rows.insert(connection, job)
            await parts.say(connection, job_id, _first_events(job, ready), now=self.now)
        self.arrived.set()
        return job

    async def find(self, owner: str, job_id: str) -> FineTuningJob:
        """Return the job; raises JobNotFound."""
        found = await self.look(job_id) if is_id(job_id) else None
        if found is None or found.owner != owner:
            raise JobNotFound(job_id)
        return found

    async def page(
        self, owner: str, *, after: str | None, limit: int, metadata: Mapping[str, str] | None
    ) -> Page[FineTuningJob]:
        """Return a page of the owner's jobs, the newest first; see ``rows.page``.

        Raises:
            JobNotFound: the job ``after`` is not among them.
        """
        last = None if after is None else await self.find(owner, after)
        async with self._reading() as connection:
            return await rows.page(connection, owner, after=last, limit=limit, metadata=metadata)

    async def events(
        self, owner: str, job_id: str, *, after: str | None, limit: int
    ) -> Page[Event]:
        """Return a page of what was said of the job, the newest first.

        Raises:
            JobNotFound: the owner has no such job, or the job no such event.
        """
        await self.find(owner, job_id)
        page = None
        if after is None or is_id(after):
            async with self._reading() as connection:
                page = await parts.event_page(connection, job_id, after=after, limit=limit)
        if page is None:
            raise JobNotFound(str(after), "event", "after")
        return page

    async def place_of(self, owner: str, job_id: str, event: str | None) -> int:
        """Return the place of an event of the job, 0 for None: before the first one.

        Raises:
            JobNotFound: the owner has no such job, or the job no such event.
        """
        await self.find(owner, job_id)
        if event is None:
            return 0
        place = None
        if is_id(event):
            async with self._reading() as connection:
                place = await parts.place_of(connection, job_id, event)
        if place is None:
            raise JobNotFound(event, "event", "after")
        return place

    def follow(self) -> None:
        """Count a client that follows a job until ``unfollow``.

        Raises:
            JobsFull: there are as many as may be.
        """
        if self._followed >= MOST_FOLLOWED:
            raise JobsFull(
                f"{MOST_FOLLOWED} clients follow fine-tuning jobs already; ask for pages of events."
            )
        self._followed += 1

    def unfollow(self) -> None:
        """Forget one of those that follow a job."""
        self._followed -= 1

    async def checkpoints(
        self, owner: str, job_id: str, *, after: str | None, limit: int
    ) -> tuple[FineTuningJob, Page[Published]]:
        """Return the job and a page of its checkpoints, the newest first.

        Raises:
            JobNotFound: the owner has no such job, or the job no such checkpoint.
        """
        job = await self.find(owner, job_id)
        found = await self.published(job_id)
        if after is not None:
            places = [at for at, one in enumerate(found) if one.id == after]
            if not places:
                raise JobNotFound(after, "checkpoint", "after")
            found = found[places[0] + 1 :]
        return job, cut(found, limit)

    async def cancel(self, owner: str, job_id: str) -> FineTuningJob:
        """End the job; raises JobNotFound, and JobRefused when it has ended."""
        said = Event("The job was cancelled")
        job = await self._ask(owner, job_id, lambda job: rules.cancelled(job, self.now), said)
        self.cancelled.append(job_id)
        return job

    async def pause(self, owner: str, job_id: str) -> FineTuningJob:
        """Let the job wait with what it has learned; raises JobNotFound and JobRefused."""
        return await self._ask(owner, job_id, rules.paused, Event("The job was paused"))

    async def resume(self, owner: str, job_id: str) -> FineTuningJob:
        """Let a paused job go on; raises JobNotFound and JobRefused."""
        return await self._ask(owner, job_id, rules.resumed, Event("The job was resumed"))

    async def _ask(self, owner: str, job_id: str, act: Act, said: Event) -> FineTuningJob:
        await self.find(owner, job_id)
        changed = await self.change(job_id, act, said)
        self.arrived.set()
        return changed

    async def _require_room(self, connection: AsyncConnection, owner: str) -> None:
        count = await rows.work.count_unfinished(connection, owner)
        if count >= self._unfinished:
            raise JobsFull(
                f"You have {count} fine-tuning jobs that have not ended, which is as many as you"
                " may have. Wait for one, or cancel one."
            )


def _first_events(job: FineTuningJob, ready: Ready) -> list[Event]:
    files = [Event(f"Validating training file: {job.recipe.training_file}")]
    if job.recipe.validation_file is not None:
        files.append(Event(f"Validating validation file: {job.recipe.validation_file}"))
    origin = job.recipe.started_from
    goes_on = [] if origin is None else [Event(f"Going on from {origin.model} ({origin.digest})")]
    return [
        Event(f"Created fine-tuning job: {job.id}"),
        *goes_on,
        *files,
        Event(f"Rows: {ready.told()}", "warn" if "lose" in ready.told() else "info"),
        Event("Files validated, moving job to queued state"),
    ]
