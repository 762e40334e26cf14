"""Jobs, events and checkpoints in OpenAI's shape. Pure."""

from dataclasses import asdict
from typing import Any

from veneer_server.training.evaluating.asked import read
from veneer_server.training.jobs.naming import alias_of, model_of
from veneer_server.training.jobs.records import Event, FineTuningJob, Published
from veneer_server.worklist.pages import Page


def to_document(job: FineTuningJob) -> dict[str, Any]:
    """Return ``job`` in OpenAI's shape; ``veneer``, ``lora`` and ``evaluation`` are ours."""
    recipe, failure = job.recipe, job.failure
    numbers: dict[str, float] = {
        "n_epochs": recipe.hyperparameters.n_epochs,
        "batch_size": recipe.hyperparameters.batch_size,
        "learning_rate_multiplier": recipe.hyperparameters.learning_rate_multiplier,
    }
    method, beta = str(recipe.method), recipe.hyperparameters.beta
    of_method = numbers if beta is None else {**numbers, "beta": beta}
    shown: dict[str, Any] = {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created,
        "finished_at": job.finished,
        "estimated_finish": None if job.paused else job.progress.finish,
        "model": recipe.model,
        "fine_tuned_model": job.fine_tuned_model,
        "organization_id": job.organization,
        "status": str(job.status),
        "hyperparameters": numbers,
        "method": {"type": method, method: {"hyperparameters": of_method}},
        "training_file": recipe.training_file,
        "validation_file": recipe.validation_file,
        "result_files": [] if job.result_file is None else [job.result_file],
        "trained_tokens": job.progress.trained_tokens or None,
        "error": None,
        "seed": recipe.seed,
        "integrations": [],
        "lora": recipe.lora.model_dump(mode="json"),
        "evaluation": read(recipe.evaluation).as_json(),
        "veneer": {
            "paused": job.paused,
            "adapter": job.adapter,
            "step": job.progress.step,
            "total_steps": job.progress.total_steps,
            "started_from": None if recipe.started_from is None else asdict(recipe.started_from),
            "evaluation": job.progress.evaluation,
        },
    }
    if failure is not None:
        told = {"code": failure.code, "message": failure.message, "param": failure.param}
        shown["error"] = told
    return shown if recipe.metadata is None else {**shown, "metadata": recipe.metadata}


def to_list(page: Page[FineTuningJob]) -> dict[str, Any]:
    """Return a page of jobs."""
    return _listed([to_document(job) for job in page.items], more=page.more)


def to_events(page: Page[Event]) -> dict[str, Any]:
    """Return a page of events."""
    return _listed([to_event(event) for event in page.items], more=page.more)


def to_event(event: Event) -> dict[str, Any]:
    """Return one event."""
    return {
        "object": "fine_tuning.job.event",
        "id": event.id,
        "created_at": event.created,
        "level": event.level,
        "message": event.message,
        "type": event.kind,
        "data": event.data,
    }


def to_checkpoints(base: str, job: FineTuningJob, page: Page[Published]) -> dict[str, Any]:
    """Return a page of the checkpoints of ``job``, made for the model ``base``."""
    data = [_to_checkpoint(base, job, one) for one in page.items]
    ids = [one["id"] for one in data] or [None]
    return {**_listed(data, more=page.more), "first_id": ids[0], "last_id": ids[-1]}


def _listed(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": more}


def _to_checkpoint(base: str, job: FineTuningJob, one: Published) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": one.id,
        "created_at": one.created,
        "fine_tuning_job_id": one.job,
        "fine_tuned_model_checkpoint": f"{model_of(base, job)}:{alias_of(one.step)}",
        "step_number": one.step,
        "metrics": one.metrics,
    }
