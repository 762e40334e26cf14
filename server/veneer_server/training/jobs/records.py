"""One fine-tuning job, its events and its checkpoints as their rows say. Pure."""

import re
import secrets
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from veneer_server.training.job import Lora
from veneer_server.training.recipes import Hyperparameters
from veneer_server.training.rows.rows import Method

T = TypeVar("T")
_USABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Status(StrEnum):
    """How far a job is. Source: ``FineTuningJob`` of OpenAI's schema.

    A job that is paused is ``queued``: OpenAI has no other word for it.
    """

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (Status.VALIDATING_FILES, Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The revision from whose weights a job goes on."""

    model: str
    """Its adapter and number, as ``pirate@3``."""
    digest: str
    """``sha256:`` and 64 hex digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What was asked for, with every default resolved; it never changes."""

    model: str
    """The base or an adapter, as the client wrote it."""
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    hyperparameters: Hyperparameters
    lora: Lora
    metadata: dict[str, str] | None = None
    evaluation: dict[str, Any] | None = None
    """What ``training.evaluating.asked.read`` reads."""
    method: Method = Method.SUPERVISED
    data: dict[str, str] | None = None
    """The digest of each file, by the field that named it: the files may be deleted."""
    started_from: Origin | None = None
    """The revision that ``model`` was then; None for the base."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the trainer is, as far as its events were read."""

    offset: int = 0
    """The bytes of ``events.jsonl`` whose events are rows."""
    step: int = 0
    total_steps: int = 0
    trained_tokens: int = 0
    deaths: int = 0
    """How often the trainer ended without a result."""
    checkpoint: int = 0
    """The step of the last checkpoint that was told."""
    finish: int | None = None
    """When it will probably have ended, in seconds since the epoch."""
    evaluation: dict[str, Any] | None = None
    """What ``Comparison.as_json`` returned, when the last checkpoint was evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningJob:
    """A job; times are in seconds since the epoch."""

    id: str
    owner: str
    """Whose it is: a digest of the tenant or key; empty when there was no key."""
    tenant: str | None
    number: int
    """Larger than that of every job that was there before."""
    adapter: str
    """The adapter whose revisions its checkpoints become."""
    organization: str
    recipe: Recipe
    created: int
    status: Status = Status.QUEUED
    paused: bool = False
    finished: int | None = None
    progress: Progress = field(default_factory=Progress)
    fine_tuned_model: str | None = None
    result_file: str | None = None
    failure: Failure | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in UNFINISHED

    def ended(self, status: Status, now: int, **changed: Any) -> "FineTuningJob":
        """Return the job as it is when it has ended."""
        over: dict[str, Any] = {"status": status, "finished": now, "paused": False}
        progress = replace(self.progress, finish=None)
        return replace(self, **over, progress=progress, **changed)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was said of a job."""

    message: str
    level: str = "info"
    kind: str = "message"
    data: dict[str, Any] = field(default_factory=dict)
    created: int = 0
    """0 means the time at which it becomes a row."""
    id: str = field(default_factory=lambda: f"ftevent-{secrets.token_hex(12)}")


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that is a revision, proved."""

    id: str
    job: str
    step: int
    revision: int
    created: int
    metrics: dict[str, float]


def new_id() -> str:
    """Return an id for a job that nobody can guess."""
    return f"ftjob-{secrets.token_hex(16)}"


def new_short_id() -> str:
    """Return the eight characters with which the name of a model ends."""
    return "".join(secrets.choice(_LETTERS) for _ in range(8))


def new_checkpoint_id() -> str:
    """Return an id for a checkpoint."""
    return f"ftckpt_{secrets.token_hex(12)}"


def result_id(job_id: str) -> str:
    """Return the id of the file of results; always the same, so that it is made only once."""
    return f"file-{job_id.removeprefix('ftjob-')}r"


def is_id(text: str) -> bool:
    """Return whether ``text`` can be an id at all, so that the database may be asked for it."""
    return _USABLE.fullmatch(text) is not None
