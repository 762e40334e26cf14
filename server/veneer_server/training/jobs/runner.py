"""Works on one unfinished job after the other. One for each server."""

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import replace

import structlog

from veneer_adapters.threads import in_thread
from veneer_server.files.errors import FileFault
from veneer_server.training.jobs.errors import JobFault, JobsUnavailable
from veneer_server.training.jobs.records import UNFINISHED, Event, Failure, FineTuningJob, Status
from veneer_server.training.jobs.rules import choose_next
from veneer_server.training.jobs.working.finishing import fail
from veneer_server.training.jobs.working.running import Running
from veneer_server.training.jobs.working.shared import Shared

logger = structlog.get_logger(__name__)

_LOOK_S = 1.0
_IDLE_S = 30.0
"""Between two looks while there is no job: each look costs the processor some milliseconds."""
_SILENT_S = 60
_BEAT_S = 10.0
_AGAIN_S = 5.0
_SWEEP_S = 3600.0


class Runner:
    """The task that works on jobs."""

    def __init__(self, shared: Shared, *, days: int) -> None:
        """Forget what ended and was made ``days`` ago."""
        self._shared = shared
        self._days = days
        self._name = secrets.token_hex(8)
        self._failing = False
        self._seen: Counter[str] = Counter()
        self._waiting: set[str] = set()
        self._swept_s = float("-inf")

    def count(self) -> dict[tuple[str, ...], int]:
        """Return how many jobs there were that have not ended, of each status, lately."""
        return {(str(status),): self._seen[status] for status in UNFINISHED}

    async def run(self) -> None:
        """Work until cancelled; a failure of the database or the disk is logged once."""
        arrived = self._shared.jobs.arrived
        while not self._shared.draining.is_set():
            try:
                worked = await self._work()
            except (JobFault, FileFault) as error:
                if not self._failing:
                    logger.warning("fine-tuning jobs not looked at", why=str(error))
                self._failing, worked = True, False
                await asyncio.sleep(_AGAIN_S)
            else:
                self._failing = False
            if worked:
                continue
            try:
                async with asyncio.timeout(_LOOK_S if self._seen else _IDLE_S):
                    await arrived.wait()
            except TimeoutError:
                continue
            arrived.clear()
        await asyncio.Event().wait()

    async def _work(self) -> bool:
        """Work on the next job until nothing more can be done; return whether there was one."""
        jobs = self._shared.jobs
        while jobs.cancelled:  # nobody works on them now
            await in_thread(jobs.folders.end, jobs.cancelled.pop())
        unfinished = await self._look()
        if time.monotonic() - self._swept_s > _SWEEP_S:
            await self._sweep({job.id for job in unfinished})
            self._swept_s = time.monotonic()
        for job in choose_next(unfinished):
            if not await asyncio.to_thread(jobs.folders.has, job.id):
                continue
            if not self._shared.hours.is_open():
                await self._tell_that_it_waits(job)
            elif await self._claim(job):
                self._waiting.clear()
                await self._run(job)
                return True
        return False

    async def _tell_that_it_waits(self, job: FineTuningJob) -> None:
        """Let the job be queued, and tell why: once, until a job is worked on again."""
        if job.id not in self._waiting:
            self._waiting.add(job.id)
            said = Event(f"The job waits: this server trains only {self._shared.hours}")
            await self._shared.jobs.change(job.id, _waits, said)

    async def _look(self) -> list[FineTuningJob]:
        unfinished = await self._shared.jobs.unfinished()
        self._seen = Counter(job.status for job in unfinished)
        return unfinished

    async def _run(self, job: FineTuningJob) -> None:
        beating = asyncio.create_task(self._beat(job))
        try:
            await Running(job, self._shared).run()
        except (JobFault, FileFault):
            raise
        except OSError as error:
            raise JobsUnavailable(f"The folder of {job.id}: {error.strerror}.") from error
        except Exception as error:  # one job must not hold up all others
            logger.error("fine-tuning job not understood", job=job.id, exc_info=error)
            why = "The server does not understand what the trainer wrote; its log says more."
            await fail(job, Failure("server_error", why), self._shared)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _claim(self, job: FineTuningJob) -> bool:
        silent_s = _SILENT_S if self._shared.jobs.shared else -1
        return await self._shared.jobs.claim(job.id, self._name, silent_s=silent_s)

    async def _beat(self, job: FineTuningJob) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            try:
                await self._claim(job)
                await self._look()
            except JobFault as error:
                logger.warning("fine-tuning job not claimed", job=job.id, why=str(error))

    async def _sweep(self, unfinished: set[str]) -> None:
        """Remove what belongs to no job any more: a server died between the two."""
        jobs = self._shared.jobs
        # The folder of a job is there before its row.
        for job_id in await asyncio.to_thread(jobs.folders.older_than, _SWEEP_S):
            if job_id not in unfinished:
                await in_thread(jobs.folders.end, job_id)
        await jobs.delete_old(self._days)


def _waits(job: FineTuningJob) -> FineTuningJob:
    return job if job.is_over else replace(job, status=Status.QUEUED)
