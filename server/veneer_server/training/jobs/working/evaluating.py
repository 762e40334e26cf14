"""Measures a job's last checkpoint beside the base and what is live, on the held-out rows."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
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
from veneer_server.training.evaluating.grading import grades
from veneer_server.training.evaluating.scoring import (
    NotScored,
    Sums,
    likelier,
    preference,
    score,
    total,
)
from veneer_server.training.evaluating.verdicts import Comparison, Measured, compare, measured
from veneer_server.training.jobs.naming import alias_of, model_of
from veneer_server.training.jobs.records import FineTuningJob
from veneer_server.training.jobs.rules import VALID
from veneer_server.training.jobs.working.asking import Models, NotMeasured
from veneer_server.training.jobs.working.shared import Shared
from veneer_server.training.recipes import AUTO_BETA
from veneer_server.training.rows.examples import Example
from veneer_server.training.rows.preparing import read_examples, read_rows
from veneer_server.training.rows.rows import Method

logger = structlog.get_logger(__name__)

T = TypeVar("T")
AT_ONCE = 4
"""So many examples are asked at a time."""
_PER_ROW = {Method.SUPERVISED: 1, Method.DPO: 2}
"""How many examples a row that is measured has: of preferences both answers."""


class Stopped(Exception):
    """The job was cancelled or paused, or the server stops: it is measured later or never."""


async def evaluate(job: FineTuningJob, step: int, shared: Shared) -> Comparison:
    """Return how the checkpoint of ``step`` does.

    Raises:
        NotMeasured: the message says why nobody can tell.
        Stopped: somebody wants something else of the job meanwhile.
    """
    folder, method = shared.jobs.folders.of(job.id), job.recipe.method
    examples = await asyncio.to_thread(_held_out, folder, method, shared)
    if not examples:
        raise NotMeasured("There are no rows to measure with.")
    asked = read(job.recipe.evaluation)
    measuring = _Measuring(job, asked.graded_by(), examples, shared)
    origin = job.recipe.started_from  # first: of preferences it is the reference
    start = None if origin is None else await measuring.measure(origin.model)
    base = await measuring.measure(shared.base_id)
    live = await measuring.measure_live(asked)
    candidate = await measuring.measure(f"{model_of(shared.base_id, job)}:{alias_of(step)}")
    rows = len(examples) // _PER_ROW[method]
    counts = rows, sum(example.learned for example in examples)
    found = compare(base, live, candidate, counts, asked.margin, method, start)
    # A model whose answers nobody could look at must not be published because of its loss alone.
    return replace(found, better=False, why=measuring.faults[0]) if measuring.faults else found


class _Measuring:
    """Measures one model after the other with the same examples.

    What a job began with comes first, the base or an adapter.
    """

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
        self._reference: list[float] | None = None
        self._known: dict[str, Measured] = {}
        self.faults: tuple[str, ...] = ()
        """Why graders could not grade."""

    async def measure_live(self, asked: Evaluation) -> Measured | None:
        """Measure what requests to the name get now for which the job is; None if nothing."""
        name = asked.publish_to
        number = None if name is None else self._shared.publisher.live(name)
        return None if number is None else await self.measure(f"{name}@{number}")

    async def measure(self, model: str) -> Measured:
        """Measure one model, which is measured once."""
        if model not in self._known:
            self._known[model] = await self._measure(model)
        return self._known[model]

    async def _measure(self, model: str) -> Measured:
        sums = await self._each(lambda example: self._score(model, example), self._examples)
        said = []
        if self._graders:
            good = self._examples[:: _PER_ROW[self._job.recipe.method]]
            said = await self._each(lambda example: self._answer(model, example), good)
        found = await asyncio.to_thread(grades, self._graders, said, self._shared.score)
        self.faults = self.faults or found.faults
        return measured(model, self._total(sums), found.shares)

    def _total(self, sums: Sequence[Sums]) -> Sums:
        recipe = self._job.recipe
        if recipe.method is not Method.DPO:
            return total(sums)
        found = likelier(sums)
        self._reference = self._reference or found
        beta = recipe.hyperparameters.beta or AUTO_BETA
        return preference(found, self._reference, beta)

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

    async def _each(
        self, ask: Callable[[Example], Awaitable[T]], examples: Sequence[Example]
    ) -> list[T]:
        found: list[T] = []
        for start in range(0, len(examples), AT_ONCE):
            await self._require_wanted()
            part = examples[start : start + AT_ONCE]
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


def _held_out(folder: Path, method: Method, shared: Shared) -> list[Example]:
    """Return the examples to measure with; of preferences each pair, the preferred one first."""
    path, most = folder / VALID, shared.evaluated_rows
    if not path.exists() or most == 0:
        return []
    count = sum(1 for _ in _items(path, method))
    found = []
    for item in chosen(_items(path, method), count, most):
        kept = [scorable(example, shared.models.most_tokens) for example in item]
        whole = [example for example in kept if example is not None]
        found += whole if len(whole) == len(item) else []
    return found


def _items(path: Path, method: Method) -> Iterator[tuple[Example, ...]]:
    if method is Method.DPO:
        return read_rows(path)
    return ((example,) for example in read_examples(path))
