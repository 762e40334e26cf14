"""The answers of the admin routes, as types. They keep unknown members, so nothing is lost."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    object: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the document as the server sent it."""
        return self.model_dump(mode="json", exclude_unset=True)


class Source(_Answer):
    """Where the content of an adapter came from."""

    kind: str
    location: str


class Progress(_Answer):
    """How far the server's work on new content is."""

    stage: str
    done_bytes: int | None = None
    total_bytes: int | None = None


class Target(_Answer):
    """One revision that an alias points to; its weight is relative to the others."""

    revision: int
    weight: int | float = 1


class Guard(_Answer):
    """When the server takes a canary back."""

    min_requests: int
    margin: float


class Alias(_Answer):
    """A movable name for one revision, or for several with weights."""

    adapter: str
    alias: str
    version: int
    """Counts the moves; ``--if-version`` compares it."""
    targets: tuple[Target, ...]
    sticky: str | None = None
    guard: Guard | None = None
    since: int | float | None = None
    """Seconds since 1970."""
    by: str | None = None


class Effect(_Answer):
    """What the engine measured when it proved a revision."""

    modules: int | None = None
    largest_change: float | None = None


class Measured(_Answer):
    """What one model does on the held-out rows."""

    model: str
    loss: float
    accuracy: float
    grades: dict[str, float] = {}


class Evaluation(_Answer):
    """The models side by side."""

    base: Measured
    start: Measured | None = None
    live: Measured | None = None
    candidate: Measured
    examples: int
    tokens: int
    better: bool
    why: str
    method: str = "supervised"

    def named(self) -> dict[str, Measured]:
        """Return the models that there are, with what each is."""
        found = {
            "base": self.base,
            "start": self.start,
            "live": self.live,
            "candidate": self.candidate,
        }
        return {name: one for name, one in found.items() if one is not None}


class Origin(_Answer):
    """The revision from which a training went on."""

    model: str
    digest: str


class Training(_Answer):
    """How a revision was trained, and what it was measured to do."""

    job: str
    step: int
    method: str
    model: str
    started_from: Origin | None = None
    data: dict[str, str] | None = None
    evaluation: Evaluation | None = None


class Revision(_Answer):
    """Immutable content of an adapter."""

    number: int
    digest: str
    state: str
    created: int | float | None = None
    reason: str | None = None
    detail: str | None = None
    size_bytes: int | None = None
    rank: int | None = None
    alpha: int | float | None = None
    target_modules: tuple[str, ...] = ()
    modules: int | None = None
    base: str | None = None
    dtype: str | None = None
    source: Source | None = None
    effect: Effect | None = None
    training: Training | None = None


class Adapter(_Answer):
    """One adapter: its state, its aliases and the number of its revisions."""

    name: str
    state: str
    created: int | float | None = None
    live: int | None = None
    latest: int | None = None
    revisions: int = 0
    pinned: bool = False
    read_only: bool = False
    source: Source | None = None
    aliases: dict[str, Alias] = {}
    reason: str | None = None
    detail: str | None = None
    progress: Progress | None = None
    compressed: float | None = None


class Page(_Answer):
    """One page of a listing; ``next`` is the value of ``after`` for the next page."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next: str | int | None = None


class AuditEntry(_Answer):
    """An entry of the audit log."""

    number: int
    time: int
    actor: str
    action: str
    outcome: str
    hash: str


class UsageResult(_Answer):
    """The sums of one group."""

    tenant: str | None = None
    key: str | None = None
    adapter: str | None = None
    revision: int | None = None
    endpoint: str | None = None
    outcome: str | None = None
    num_model_requests: int
    input_tokens: int
    input_cached_tokens: int
    output_tokens: int


class UsageBucket(_Answer):
    """The sums of a time."""

    start_time: int
    end_time: int
    results: tuple[UsageResult, ...]


class UsagePage(_Answer):
    """Some buckets, in the order of time."""

    data: tuple[UsageBucket, ...]
    next_page: str | None = None


class ApiKey(_Answer):
    """A key; only the answer that made it has its text."""

    id: str
    name: str = ""
    tenant: str | None = None
    scopes: tuple[str, ...] = ()
    adapters: tuple[str, ...] | None = None
    created: float | None = None
    expires: float | None = None
    revoked: float | None = None
    limits: dict[str, int | None] = {}
    key: str | None = None
