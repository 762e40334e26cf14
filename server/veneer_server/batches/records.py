"""One batch as its row says; a value that nobody changes. Pure."""

import re
import secrets
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

_USABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Status(StrEnum):
    """How far a batch is. Source: ``Batch`` of OpenAI's schema."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


UNFINISHED = (Status.VALIDATING, Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING)


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line of the input."""

    code: str
    message: str
    line: int | None = None
    """From 1; None when it is the file as a whole."""
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done, and would survive a power loss."""

    completed: int = 0
    failed: int = 0
    output_bytes: int = 0
    """How much of the file of answers counts; what follows was not acknowledged."""
    error_bytes: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch; times are in seconds since the epoch."""

    id: str
    owner: str
    """Whose it is: a digest of the tenant or key; empty when there was no key."""
    tenant: str | None
    key: str | None
    """The id of the key that made it, whose limits hold."""
    number: int
    """Larger than that of every batch that was there before."""
    endpoint: str
    """The path that every line asks."""
    input_file: str
    status: Status = Status.VALIDATING
    created: int
    expires: int
    metadata: dict[str, str] | None
    output_expires_s: int | None
    """For how long the files of answers stay; None is the usual time."""
    times: dict[str, int] = field(default_factory=dict)
    """When it became what, by the names of OpenAI's fields."""
    total: int = 0
    progress: Progress = Progress()
    output_file: str | None = None
    error_file: str | None = None
    model: str | None = None
    """The model of every line; None when they differ."""
    faults: tuple[LineFault, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in UNFINISHED

    def moved(self, status: Status, now: int, **changed: Any) -> "Batch":
        """Return the batch with another status, and the time of that."""
        return replace(self, status=status, times={**self.times, f"{status}_at": now}, **changed)


def new_id() -> str:
    """Return an id for a batch that nobody can guess."""
    return f"batch_{secrets.token_hex(16)}"


def new_line_id() -> str:
    """Return an id for an answer in a batch."""
    return f"batch_req_{secrets.token_hex(12)}"


def output_id(batch_id: str, kind: str) -> str:
    """Return the id of the file of answers; always the same, so that it is made only once."""
    return f"file-{batch_id.removeprefix('batch_')}{kind[0]}"


def is_id(text: str) -> bool:
    """Return whether ``text`` can be an id at all, so that the database may be asked for it."""
    return _USABLE.fullmatch(text) is not None
