"""The rows of jobs in one database, with what was said of them and their checkpoints."""

import time
from collections.abc import Callable, Sequence

from veneer_adapters.catalog.database import Database
from veneer_adapters.threads import to_its_end
from veneer_server.training.jobs.errors import JobNotFound, JobsUnavailable
from veneer_server.training.jobs.records import Event, FineTuningJob, Published
from veneer_server.training.jobs.sql import parts, rows
from veneer_server.worklist.kept import KeptWork

Act = Callable[[FineTuningJob], FineTuningJob]


class KeptJobs(KeptWork[FineTuningJob]):
    """The jobs of one database.

    Every method raises JobsUnavailable when the database cannot be read or written.
    """

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        """Keep rows in ``database``."""
        super().__init__(database, rows.work, _unavailable, now=now)

    async def failed(self, limit: int) -> list[FineTuningJob]:
        """Return the newest failed jobs, whoever's they are."""
        async with self._reading() as connection:
            return await rows.failed(connection, limit)

    async def published(self, job_id: str) -> list[Published]:
        """Return every checkpoint of a job, the newest first."""
        async with self._reading() as connection:
            return await parts.published(connection, job_id)

    async def events_since(self, job_id: str, place: int, *, limit: int) -> list[tuple[int, Event]]:
        """Return what was said of a job after ``place``, the oldest first, each with its place."""
        async with self._reading() as connection:
            return await parts.events_since(connection, job_id, place, limit)

    async def change(
        self, job_id: str, act: Act, *said: Event, published: Sequence[Published] = ()
    ) -> FineTuningJob:
        """Write what ``act`` makes of the job as it is now, with events and checkpoints.

        When ``act`` returns the very job that it got, nothing is written at all.
        """
        return await to_its_end(self._change(job_id, act, said, published))

    async def _change(
        self, job_id: str, act: Act, said: Sequence[Event], published: Sequence[Published]
    ) -> FineTuningJob:
        async with self._writing() as (connection, _):
            found = await rows.work.find(connection, job_id)
            if found is None:
                raise JobNotFound(job_id)
            changed = act(found)
            if changed is not found:
                await rows.replace(connection, changed)
                await parts.say(connection, job_id, said, now=self.now)
                for one in published:
                    await parts.keep(connection, one)
        return changed


def _unavailable() -> JobsUnavailable:
    return JobsUnavailable("The server cannot read or write jobs now. Try again later.")
