"""Each complete checkpoint becomes a revision, as soon as it is there."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

import structlog

from veneer_adapters.errors import AdapterError, AdapterUnavailable
from veneer_server.training.folder import Checkpoint, JobFolder, read_json
from veneer_server.training.jobs.naming import alias_of
from veneer_server.training.jobs.records import (
    Event,
    Failure,
    FineTuningJob,
    Published,
    new_checkpoint_id,
)
from veneer_server.training.jobs.working.shared import Shared

logger = structlog.get_logger(__name__)

AGAIN_S = 5.0
"""The pause after the engine, the disk or the database could not do it."""
_MEASURED = frozenset(
    {
        "step",
        "train_loss",
        "train_mean_token_accuracy",
        "valid_loss",
        "valid_mean_token_accuracy",
        "full_valid_loss",
        "full_valid_mean_token_accuracy",
    }
)


class Checkpoints:
    """The checkpoints of one job on their way to the catalog."""

    def __init__(self, job: FineTuningJob, folder: JobFolder, shared: Shared) -> None:
        self._job = job
        self._folder = folder
        self._shared = shared
        self.published: dict[int, Published] = {}
        self.refused: dict[int, Failure] = {}
        self._not_before_s = 0.0

    async def load(self) -> None:
        """Remember what was published before."""
        found = await self._shared.jobs.published(self._job.id)
        self.published = {one.step: one for one in found}

    async def publish_new(self) -> bool:
        """Publish what is complete; return whether nothing is left that must be tried again."""
        if time.monotonic() < self._not_before_s:
            return False
        for checkpoint, metrics in await asyncio.to_thread(self._waiting):
            try:
                await self._publish(checkpoint, metrics)
            except AdapterUnavailable as error:
                why = {"job": self._job.id, "step": checkpoint.step, "why": str(error)}
                logger.warning("checkpoint not published yet", **why)
                self._not_before_s = time.monotonic() + AGAIN_S
                return False
            except AdapterError as error:
                await self._refuse(checkpoint.step, error)
        return True

    def _waiting(self) -> list[tuple[Checkpoint, dict[str, float]]]:
        known = self.published.keys() | self.refused.keys()
        left = [one for one in self._folder.complete() if one.step not in known]
        found = [(one, read_json(one.path / "progress.json") or {}) for one in left]
        # One that has no figures yet is being measured, or was saved for a pause.
        return [(one, _figures(says["metrics"])) for one, says in found if says.get("metrics")]

    async def _publish(self, checkpoint: Checkpoint, metrics: dict[str, float]) -> None:
        jobs, step = self._shared.jobs, checkpoint.step
        revision = await self._shared.publisher.publish(
            self._job, checkpoint.adapter, self._folder.path, alias_of(step)
        )
        made = Published(new_checkpoint_id(), self._job.id, step, revision, jobs.now, metrics)
        said = Event(f"Checkpoint of step {step} can be asked")
        await jobs.change(self._job.id, _touched, said, published=[made])
        self.published[step] = made

    async def _refuse(self, step: int, error: AdapterError) -> None:
        self.refused[step] = Failure(getattr(error, "reason", "adapter_invalid"), str(error))
        said = Event(f"Checkpoint of step {step} cannot be served: {error}", "warn")
        await self._shared.jobs.change(self._job.id, _touched, said)


def _touched(job: FineTuningJob) -> FineTuningJob:
    """Return another value that says the same, so that what comes with it is written."""
    return FineTuningJob(**{name: getattr(job, name) for name in job.__dataclass_fields__})


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return those that OpenAI's schema knows; a figure that is no number is left out."""
    known = {name: metrics[name] for name in _MEASURED & metrics.keys()}
    return {
        name: value
        for name, value in known.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
