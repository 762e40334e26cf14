"""What is asked becomes a recipe in numbers, and what a job may do in which state. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import quoted
from veneer_adapters.names import is_adapter_name
from veneer_server.training import recipes
from veneer_server.training.evaluating.asked import Evaluation
from veneer_server.training.job import Job, Lora, Means
from veneer_server.training.jobs.errors import JobRefused
from veneer_server.training.jobs.origins import origin_of, require_usable, shape_of
from veneer_server.training.jobs.records import FineTuningJob, Recipe, Status
from veneer_server.training.recipes import Auto
from veneer_server.training.rows.rows import Method

TRAIN, VALID, START = Path("train.jsonl"), Path("valid.jsonl"), Path("start")
_LEAST_BETWEEN, _MOST_CHECKPOINTS = 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"
    method: Method = Method.SUPERVISED
    beta: float | Auto = "auto"
    lora: Lora | None = None
    learning_rate: float | None = None
    metadata: dict[str, str] | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The base model, as far as training needs it."""

    id: str
    trained_for: str
    """What an adapter says it was made for."""
    names: frozenset[str]
    """Every name that clients have for it."""
    folder: Path
    width: int
    """How many numbers its hidden states have."""
    most_tokens: int
    most_rank: int
    modules: frozenset[str] = frozenset()
    """The last parts of the names of its modules; empty when they are not known."""


def require_possible(asked: Asked, base: Base, start: Revision | None = None) -> None:
    """Return if ``base`` can be trained as it is ``asked``, as far as no file is needed for that.

    ``start`` is the adapter from which it goes on.

    Raises:
        JobRefused: ``param`` names what is impossible.
    """
    given = _given(asked)
    if start is not None:
        names = {base.trained_for, *base.names}
        require_usable(start, given, bases=names, most_rank=base.most_rank)
    name = asked.evaluation.publish_to
    if name is not None and (name in base.names or not is_adapter_name(name)):
        raise JobRefused(
            f"{quoted(name)} is not a name that an adapter can have here.",
            param="evaluation.publish_to",
        )
    if given.get("r", 0) > base.most_rank:
        raise JobRefused(
            f"This server serves adapters up to rank {base.most_rank}; see adapters.max_rank.",
            param="lora.r",
        )
    unknown = sorted(set(given.get("target_modules", ())) - base.modules) if base.modules else []
    if unknown:
        known = ", ".join(sorted(base.modules))
        raise JobRefused(
            f"The base model has no modules called '{unknown[0][:100]}'. It has: {known}.",
            param="lora.target_modules",
        )


def to_recipe(
    asked: Asked,
    items: int,
    seed: int,
    base: Base,
    *,
    data: Mapping[str, str] | None = None,
    start: Revision | None = None,
) -> Recipe:
    """Return ``asked`` with numbers for everything, for so many ``items``: examples or pairs.

    ``data`` has the digests of the files, and ``start`` is the adapter from which it goes on.
    """
    return Recipe(
        model=asked.model,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        suffix=asked.suffix,
        seed=seed if asked.seed is None else asked.seed,
        hyperparameters=recipes.resolve(
            items,
            method=asked.method,
            n_epochs=asked.n_epochs,
            batch_size=asked.batch_size,
            learning_rate_multiplier=_multiplier(asked, base),
            beta=asked.beta,
        ),
        lora=_lora(asked, base, start),
        metadata=asked.metadata,
        evaluation=asked.evaluation.as_json(),
        method=asked.method,
        data=None if data is None else dict(data),
        started_from=None if start is None else origin_of(start),
    )


def to_work(job: FineTuningJob, items: int, base: Base, means: Means) -> Job:
    """Return what the trainer gets for ``job``, which learns so many ``items``."""
    found = job.recipe.hyperparameters
    total = recipes.steps(items, found.batch_size, found.n_epochs)
    method = job.recipe.method
    rate = recipes.base_rate(base.width, method) * found.learning_rate_multiplier
    return Job(
        id=job.id,
        method=method,
        beta=found.beta or recipes.AUTO_BETA,
        base=base.folder,
        base_id=base.trained_for,
        train=TRAIN,
        valid=VALID,
        seed=job.recipe.seed,
        epochs=found.n_epochs,
        batch_size=found.batch_size,
        learning_rate=min(rate, 1.0),
        checkpoint_steps=max(_LEAST_BETWEEN, math.ceil(total / _MOST_CHECKPOINTS)),
        lora=job.recipe.lora,
        start=None if job.recipe.started_from is None else START,
        means=means,
    )


def cancelled(job: FineTuningJob, now: int) -> FineTuningJob:
    """Return the job as it is when somebody cancels it; raises JobRefused when it has ended."""
    if job.is_over:
        raise JobRefused(f"Cannot cancel a job with status '{job.status}'.")
    return job.ended(Status.CANCELLED, now)


def paused(job: FineTuningJob) -> FineTuningJob:
    """Return the job as it is when somebody pauses it; raises JobRefused when it has ended."""
    if job.is_over:
        raise JobRefused(f"Cannot pause a job with status '{job.status}'.")
    return job if job.paused else replace(job, status=Status.QUEUED, paused=True)


def resumed(job: FineTuningJob) -> FineTuningJob:
    """Return the job as it is when somebody resumes it; raises JobRefused if it is not paused."""
    if not job.paused:
        raise JobRefused(f"Cannot resume a job with status '{job.status}' that is not paused.")
    return replace(job, paused=False)


def choose_next(unfinished: Sequence[FineTuningJob]) -> list[FineTuningJob]:
    """Return the jobs to work on, the next one first: those that have begun, then the oldest."""
    left = [job for job in unfinished if not job.paused]
    return sorted(left, key=lambda job: (job.status is not Status.RUNNING, job.number))


def _multiplier(asked: Asked, base: Base) -> float | Auto:
    if asked.learning_rate is None:
        return asked.learning_rate_multiplier
    return asked.learning_rate / recipes.base_rate(base.width, asked.method)


def _given(asked: Asked) -> dict[str, Any]:
    """Return what was asked of the shape of the adapter, without what is left to the server."""
    found = asked.lora
    return {} if found is None else {n: getattr(found, n) for n in found.model_fields_set}


def _lora(asked: Asked, base: Base, start: Revision | None) -> Lora:
    given = _given(asked)
    if start is not None:
        return shape_of(start).model_copy(update=given)
    rank = given.get("r", min(Lora().r, base.most_rank))
    return Lora(**{"r": rank, "alpha": 2 * rank, **given})
