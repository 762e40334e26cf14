"""How a job ends: its results as a file, its last checkpoint live, its row, and no folder left."""

import asyncio
import io
from dataclasses import replace

import structlog

from veneer_adapters.errors import AdapterError, AdapterUnavailable
from veneer_adapters.threads import in_thread
from veneer_server.files.files import Named
from veneer_server.files.records import Purpose
from veneer_server.training.evaluating.verdicts import Comparison, told
from veneer_server.training.events import read_events
from veneer_server.training.folder import JobFolder
from veneer_server.training.jobs.errors import JobsUnavailable
from veneer_server.training.jobs.naming import model_of
from veneer_server.training.jobs.records import Event, Failure, FineTuningJob, Status, result_id
from veneer_server.training.jobs.working.asking import NotMeasured
from veneer_server.training.jobs.working.evaluating import Stopped, evaluate
from veneer_server.training.jobs.working.promoting import promote
from veneer_server.training.jobs.working.publishing import Checkpoints
from veneer_server.training.jobs.working.results import to_csv
from veneer_server.training.jobs.working.shared import Shared

logger = structlog.get_logger(__name__)

_NONE = Failure("server_error", "The trainer has left no checkpoint.")


async def succeed(
    job: FineTuningJob, checkpoints: Checkpoints, folder: JobFolder, shared: Shared
) -> None:
    """End a job whose trainer has reached the last step.

    Its last checkpoint is evaluated and becomes live; when it is better, it is promoted as far as
    that was asked for. When it cannot be served, the job has failed. A job that is paused meanwhile
    waits: it ends after it was resumed.

    Raises:
        JobsUnavailable: the database, the disk or the engine fails now; a later run goes on.
    """
    last = max(checkpoints.published.keys() | checkpoints.refused.keys(), default=None)
    if last is None or last in checkpoints.refused:
        await fail(job, _NONE if last is None else checkpoints.refused[last], shared)
        return
    try:
        found = await _judge(job, last, checkpoints, shared)
    except Stopped:
        return
    kept = None if found is None else found.as_json()
    job = replace(job, progress=replace(job.progress, evaluation=kept))
    try:
        await shared.publisher.make_live(job, checkpoints.published[last].revision)
    except AdapterUnavailable as error:
        raise JobsUnavailable(str(error)) from error
    except AdapterError as error:  # somebody has removed it meanwhile
        await fail(job, Failure(getattr(error, "reason", "adapter_invalid"), str(error)), shared)
        return
    promoted = await promote(job, found, folder, shared)
    file_id = await _keep_results(job, folder, shared, last, found)
    name = model_of(shared.base_id, job)

    def done(now: FineTuningJob) -> FineTuningJob:
        made = {"fine_tuned_model": name, "result_file": file_id}
        waits = now.is_over or now.paused
        return now if waits else now.ended(Status.SUCCEEDED, shared.jobs.now, **made)

    published = checkpoints.published[last]
    figures = {} if found is None else found.figures()
    changed = await shared.jobs.change(
        job.id,
        done,
        *promoted,
        Event(f"New fine-tuned model created: {name}"),
        Event("The job has successfully completed"),
        published=[replace(published, metrics={**published.metrics, **figures})],
    )
    if changed.is_over:
        shared.observer.ended(changed.status)
        await in_thread(shared.jobs.folders.end, job.id)
        logger.info("fine-tuning job ended", job=job.id, status=str(changed.status))


async def fail(job: FineTuningJob, failure: Failure, shared: Shared) -> None:
    """End a job with ``failure``; checkpoints that were published stay."""

    def failed(now: FineTuningJob) -> FineTuningJob:
        ended = now.ended(Status.FAILED, shared.jobs.now, failure=failure)
        return now if now.is_over else ended

    said = Event(f"The job failed: {failure.message}", "error")
    changed = await shared.jobs.change(job.id, failed, said)
    if changed.status is Status.FAILED:
        shared.observer.ended(changed.status)
    await in_thread(shared.jobs.folders.end, job.id)
    logger.warning("fine-tuning job ended", job=job.id, status="failed", why=failure.message)


async def _judge(
    job: FineTuningJob, last: int, checkpoints: Checkpoints, shared: Shared
) -> Comparison | None:
    """Return how the last checkpoint does, None when nobody can tell.

    It is written down before anything follows from it. A later run must not measure the model
    beside itself, when it has become live meanwhile.
    """
    if job.progress.evaluation is not None:
        return Comparison.read(job.progress.evaluation)
    try:
        found = await evaluate(job, last, shared)
    except NotMeasured as error:
        why = Event(f"The model was not evaluated: {error}", "warn")
        await shared.jobs.change(job.id, replace, why)
        return None
    kept = found.as_json()

    def noted(now: FineTuningJob) -> FineTuningJob:
        return replace(now, progress=replace(now.progress, evaluation=kept))

    trainer = checkpoints.published[last].metrics.get("valid_loss")
    said = Event(told(found, trainer), data={"step": last, "evaluation": kept})
    await shared.jobs.change(job.id, noted, said)
    return found


async def _keep_results(
    job: FineTuningJob, folder: JobFolder, shared: Shared, last: int, found: Comparison | None
) -> str:
    events, _ = await asyncio.to_thread(read_events, folder.events)
    named = Named("step_metrics.csv", Purpose.FINE_TUNE_RESULTS, None)
    figures = {} if found is None else {"step": last, **found.figures(), **found.beside()}
    content = io.BytesIO(to_csv([*events, {"type": "metrics", "data": figures}]))
    return (await shared.files.make(job.owner, content, named, result_id(job.id))).id
