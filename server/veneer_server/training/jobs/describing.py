"""What a revision says of its training, also when its job is forgotten. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from veneer_server.training.jobs.records import FineTuningJob


def described(job: FineTuningJob, step: int) -> dict[str, Any]:
    """Return what the checkpoint of ``step`` says: whose recipe, which data, what was measured."""
    recipe = job.recipe
    return {
        "job": job.id,
        "step": step,
        "model": recipe.model,
        "started_from": None if recipe.started_from is None else asdict(recipe.started_from),
        "method": str(recipe.method),
        "hyperparameters": _without_none(asdict(recipe.hyperparameters)),
        "lora": recipe.lora.model_dump(mode="json"),
        "seed": recipe.seed,
        "data": recipe.data,
        "evaluation": job.progress.evaluation,
    }


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
