"""Measures a job's last checkpoint beside the base and what is live, on the held-out rows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from veneer_server.training.evaluating.asked import Evaluation, Grader, read
from veneer_server.training.evaluating.choosing import (
    chosen,
    scorable,
    to_answering,
    to_question,
    to_scoring,
)
from veneer_server.training.evaluating.grading import shares
from veneer_server.training.evaluating.scoring import NotScored, Sums, score, total
from veneer_server.training.evaluating.verdicts import Comparison, Measured, compare, measured
from veneer_server.training.jobs.naming import alias_of, model_of
from veneer_server.training.jobs.records import FineTuningJob
from veneer_server.training.jobs.rules import VALID
from veneer_server.training.jobs.working.asking import Models, NotMeasured
from veneer_server.training.jobs.working.shared import Shared
from veneer_server.training.rows.examples import Example
from veneer_server.training.rows.preparing import read_examples
from veneer_server.training.rows.rows import Method

logger = structlog.get_logger(__name__)

T = TypeVar("T")
AT_ONCE = 4
"""So many rows are asked at a time."""


class Stopped(Exception):
    """The job was cancelled or paused, or the server stops: it is measured later or never."""


async def evaluate(job: FineTuningJob, step: int, shared: Shared) -> Comparison:
    """Return how the checkpoint of ``step`` does.

    Raises:
        NotMeasured: the message says why nobody can tell.
        Stopped: somebody wants something else of the job meanwhile.
    """
    if job.recipe.method is Method.DPO:
        raise NotMeasured("The rows are preferences.")
    folder = shared.jobs.folders.of(job.id)
    examples = await asyncio.to_thread(_held_out, folder, shared)
    if not examples:
        raise NotMeasured("There are no rows to measure with.")
    asked = read(job.recipe.evaluation)
    measuring = _Measuring(job, asked.graded_by(), examples, shared)
    base = await measuring.measure(shared.base_id)
    live = await measuring.measure_live(asked)
    candidate = await measuring.measure(f"{model_of(shared.base_id, job)}:{alias_of(step)}")
    counts = len(examples), sum(example.learned for example in examples)
    return compare(base, live, candidate, counts, asked.margin)


class _Measuring:
    """Measures one model after the other with the same examples."""

    def __init__(
        self,
        job: FineTuningJob,
        graders: Sequence[Grader],
        examples: Sequence[Example],
        shared: Shared,
    ) -> None:
        self._job = job
        self._graders = graders
        self._examples = examples
        self._shared = shared
        self._models: Models = shared.models

    async def measure_live(self, asked: Evaluation) -> Measured | None:
        """Measure what requests to the name get now for which the job is; None if nothing."""
        name = asked.publish_to
        number = None if name is None else self._shared.publisher.live(name)
        return None if number is None else await self.measure(f"{name}@{number}")

    async def measure(self, model: str) -> Measured:
        """Measure one model."""
        sums = await self._each(lambda example: self._score(model, example))
        pairs = []
        if self._graders:
            pairs = await self._each(lambda example: self._answer(model, example))
        grades = await asyncio.to_thread(shares, self._graders, pairs)
        return measured(model, total(sums), grades)

    async def _score(self, model: str, example: Example) -> Sums:
        found = await self._models.complete(self._job.tenant, model, to_scoring(example))
        try:
            return score(example, found.get("prompt_logprobs"))
        except NotScored as error:
            raise NotMeasured(f"{model} cannot be measured: {error}.") from error

    async def _answer(self, model: str, example: Example) -> tuple[str, str]:
        tenant, question = self._job.tenant, to_question(example, self._models.stops)
        asked = to_answering(question, self._models.most_tokens)
        said = await self._models.complete(tenant, model, asked)
        return await self._models.text(tenant, model, question.wanted), str(said["text"])

    async def _each(self, ask: Callable[[Example], Awaitable[T]]) -> list[T]:
        found: list[T] = []
        for start in range(0, len(self._examples), AT_ONCE):
            await self._require_wanted()
            part = self._examples[start : start + AT_ONCE]
            tasks = [asyncio.ensure_future(ask(example)) for example in part]
            try:
                found += await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return found

    async def _require_wanted(self) -> None:
        now = await self._shared.jobs.look(self._job.id)
        if now is None or now.is_over or now.paused or self._shared.draining.is_set():
            raise Stopped


def _held_out(folder: Path, shared: Shared) -> list[Example]:
    path = folder / VALID
    if not path.exists() or shared.evaluated_rows == 0:
        return []
    count = sum(1 for _ in read_examples(path))
    found = chosen(read_examples(path), count, shared.evaluated_rows)
    kept = (scorable(example, shared.models.most_tokens) for example in found)
    return [example for example in kept if example is not None]
