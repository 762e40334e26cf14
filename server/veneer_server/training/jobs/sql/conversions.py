"""Between rows and records. Pure."""

from dataclasses import asdict
from typing import Any

import orjson

from veneer_server.training.job import Lora
from veneer_server.training.jobs.records import (
    Event,
    Failure,
    FineTuningJob,
    Origin,
    Progress,
    Published,
    Recipe,
    Status,
)
from veneer_server.training.recipes import Hyperparameters
from veneer_server.training.rows.rows import Method


def to_row(job: FineTuningJob) -> dict[str, Any]:
    """Return the row of a job, without who works on it."""
    row = {name: getattr(job, name) for name in FineTuningJob.__dataclass_fields__}
    recipe = asdict(job.recipe) | {"lora": job.recipe.lora.model_dump(mode="json")}
    row["recipe"] = _to_json(recipe)
    row["progress"] = _to_json(asdict(job.progress))
    row["failure"] = None if job.failure is None else _to_json(asdict(job.failure))
    return row


def to_job(row: Any) -> FineTuningJob:
    """Return the job of a row."""
    found = {name: row[name] for name in FineTuningJob.__dataclass_fields__}
    recipe = orjson.loads(found["recipe"])
    recipe["hyperparameters"] = Hyperparameters(**recipe["hyperparameters"])
    recipe["method"] = Method(recipe.get("method", Method.SUPERVISED))
    recipe["lora"] = Lora.model_validate_json(orjson.dumps(recipe["lora"]))
    started_from = recipe.get("started_from")
    recipe["started_from"] = None if started_from is None else Origin(**started_from)
    failure = found["failure"]
    return FineTuningJob(
        **{
            **found,
            "recipe": Recipe(**recipe),
            "progress": Progress(**orjson.loads(found["progress"])),
            "failure": None if failure is None else Failure(**orjson.loads(failure)),
            "status": Status(found["status"]),
            "paused": bool(found["paused"]),
        }
    )


def to_event_row(job_id: str, place: int, event: Event, now: int) -> dict[str, Any]:
    """Return the row of an event."""
    row = asdict(event) | {"job": job_id, "place": place, "data": _to_json(event.data)}
    return row | {"created": event.created or now}


def to_event(row: Any) -> Event:
    """Return the event of a row."""
    found = {name: row[name] for name in Event.__dataclass_fields__}
    return Event(**{**found, "data": orjson.loads(found["data"])})


def to_checkpoint_row(published: Published) -> dict[str, Any]:
    """Return the row of a checkpoint."""
    return asdict(published) | {"metrics": _to_json(published.metrics)}


def to_checkpoint(row: Any) -> Published:
    """Return the checkpoint of a row."""
    return Published(**{**row, "metrics": orjson.loads(row["metrics"])})


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()
