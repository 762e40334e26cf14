"""One job while it is worked on: its trainer is started, followed, and what it made is published.

Everything here may be cut off at any step: the row and the folder of the job say how to go on.
"""

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import replace

import structlog

from veneer_adapters.threads import in_thread
from veneer_server.training.events import read_events
from veneer_server.training.folder import JobFolder, read_json
from veneer_server.training.jobs.records import Event, Failure, FineTuningJob, Progress, Status
from veneer_server.training.jobs.working import following
from veneer_server.training.jobs.working.finishing import fail, succeed
from veneer_server.training.jobs.working.publishing import Checkpoints
from veneer_server.training.jobs.working.shared import Shared
from veneer_server.training.jobs.working.trainer import (
    Trainer,
    end_left_behind,
    last_words,
    start,
)

logger = structlog.get_logger(__name__)

CHILD = (sys.executable, "-m", "veneer_server.training.child")
"""The trainer that comes with the server."""
LOOK_S = 0.25
"""The pause between two looks at the trainer, and at what is asked of the job, in seconds."""
NOTE_S = 1.0
"""The least time between two writes of what a trainer has said: each flushes the disk."""
MOST_DEATHS = 3
"""How often a trainer may end without a result and is started again."""
_STOP_S = 8.0
"""How long a trainer may save when the server stops."""


class Running:
    """Works on one job."""

    def __init__(self, job: FineTuningJob, shared: Shared) -> None:
        self._job = job
        self._shared = shared
        self._folder = JobFolder(shared.jobs.folders.of(job.id).resolve())
        self._checkpoints = Checkpoints(job, self._folder, shared)
        self._noted_s = float("-inf")

    async def run(self) -> None:
        """Work until the job has ended or is paused, its hours are over, or the server stops.

        Raises:
            JobsUnavailable, FilesUnavailable: the database or the disk fails; a later run goes on.
        """
        self._job = await self._shared.jobs.change(self._job.id, _begun)
        if self._job.status is not Status.RUNNING:
            await self._clean()
            return
        await self._checkpoints.load()
        await asyncio.to_thread(end_left_behind, self._folder.path)
        result = await asyncio.to_thread(read_json, self._folder.result)
        while not _has_ended(result):
            goes_on = await self._train_once()
            if not goes_on:
                await self._clean()
                return
            result = await asyncio.to_thread(read_json, self._folder.result)
            if not _has_ended(result) and not await self._may_try_again():
                return
        await self._end(result or {})

    async def _train_once(self) -> bool:
        """Let a trainer run; return False if it was ended because of what is asked of the job."""
        self._folder.result.unlink(missing_ok=True)
        try:
            trainer = await start(self._shared.command, self._folder.path)
        except OSError as error:
            logger.error("trainer not started", job=self._job.id, why=str(error))
            return True
        enough = asyncio.Event()
        publishing = asyncio.create_task(self._keep_publishing(enough))
        try:
            goes_on = await self._watch(trainer, publishing)
        finally:
            if trainer.code is None:
                await trainer.save(_STOP_S)
            enough.set()
            # What it raises must not hide that this was cancelled.
            await asyncio.gather(publishing, return_exceptions=True)
        publishing.result()
        return goes_on

    async def _watch(self, trainer: Trainer, publishing: asyncio.Task[None]) -> bool:
        ended = asyncio.create_task(trainer.wait())
        try:
            while True:
                await asyncio.wait((ended,), timeout=LOOK_S)
                has_ended = ended.done()
                await self._follow(at_once=has_ended)
                if publishing.done():
                    publishing.result()
                if not await self._goes_on(trainer):
                    return False
                if has_ended:
                    return True
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _goes_on(self, trainer: Trainer) -> bool:
        if self._shared.draining.is_set():
            await trainer.save(_STOP_S)
            return False
        if self._job.paused:
            await trainer.save()
            await self._follow(at_once=True)
            return False
        if self._job.is_over:
            await trainer.kill()
            return False
        if trainer.code is None and not self._shared.hours.is_open():
            await trainer.save()
            await self._follow(at_once=True)
            # It may have ended in the same moment; then it is published now.
            return _has_ended(await asyncio.to_thread(read_json, self._folder.result))
        return True

    async def _keep_publishing(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            await self._checkpoints.publish_new()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await enough.wait()

    async def _follow(self, *, at_once: bool) -> None:
        """See what is asked of the job, and write what its trainer has said, maybe a bit later."""
        if at_once or time.monotonic() - self._noted_s > NOTE_S:
            await self._note()
        else:
            self._job = await self._shared.jobs.look(self._job.id) or self._job

    async def _note(self) -> None:
        offset = self._job.progress.offset
        found, end = await asyncio.to_thread(read_events, self._folder.events, offset)
        if end == offset:
            self._job = await self._shared.jobs.look(self._job.id) or self._job
            return
        self._noted_s = time.monotonic()
        progress, told = following.read(found, self._job.progress)
        progress = replace(progress, offset=end)

        def noted(job: FineTuningJob) -> FineTuningJob:
            if job.is_over:
                return job
            # Somebody may have paused and resumed it between two looks.
            status = job.status if job.paused else Status.RUNNING
            return replace(job, progress=progress, status=status)

        before = self._job.progress
        self._job = await self._shared.jobs.change(self._job.id, noted, *told)
        self._shared.observer.learned(
            progress.step - before.step,
            progress.trained_tokens - before.trained_tokens,
            [event.data for event in told],
        )

    async def _may_try_again(self) -> bool:
        """Return whether the trainer, which ended without a result, is started again."""
        deaths = self._job.progress.deaths + 1
        words = await asyncio.to_thread(last_words, self._folder.path)
        logger.warning("trainer ended early", job=self._job.id, deaths=deaths, said=words)
        if deaths > MOST_DEATHS:
            why = f"The trainer ended {deaths} times without a result; the server's log says more."
            await fail(self._job, Failure("server_error", why), self._shared)
            return False

        def died(job: FineTuningJob) -> FineTuningJob:
            counted: Progress = replace(job.progress, deaths=deaths)
            return job if job.is_over else replace(job, progress=counted)

        said = Event("The trainer ended early; it goes on from its last checkpoint", "warn")
        self._job = await self._shared.jobs.change(self._job.id, died, said)
        await asyncio.sleep(LOOK_S)
        return True

    async def _end(self, result: dict[str, object]) -> None:
        await self._note()  # an earlier server may have been killed before it did
        if result["outcome"] == "failed":
            await fail(self._job, _failure(result.get("error")), self._shared)
            return
        while not await self._checkpoints.publish_new():
            await asyncio.sleep(LOOK_S)
            self._job = await self._shared.jobs.look(self._job.id) or self._job
            if self._job.paused or self._job.is_over or self._shared.draining.is_set():
                await self._clean()
                return
        await succeed(self._job, self._checkpoints, self._folder, self._shared)

    async def _clean(self) -> None:
        """Remove the folder of a job that has ended meanwhile."""
        if self._job.is_over:
            await in_thread(self._shared.jobs.folders.end, self._job.id)


def _begun(job: FineTuningJob) -> FineTuningJob:
    if job.paused or job.is_over or job.status is Status.RUNNING:
        return job
    return replace(job, status=Status.RUNNING)


def _has_ended(result: dict[str, object] | None) -> bool:
    return result is not None and result.get("outcome") in ("succeeded", "failed")


def _failure(found: object) -> Failure:
    told = found if isinstance(found, dict) else {}
    code = str(told.get("code") or "server_error")
    param = told.get("param")
    why = str(told.get("message") or "The trainer failed.")
    return Failure(code, why, param if isinstance(param, str) else None)
