"""What is kept of one request that has ended."""

import itertools
import secrets
from dataclasses import dataclass, field

_PROCESS = secrets.token_hex(8)
_numbers = itertools.count()


def new_id() -> str:
    """Return an id that no other row has, of this server or of another."""
    return f"{_PROCESS}-{next(_numbers):x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """Who asked which adapter, what it took, and how it ended."""

    id: str = field(default_factory=new_id)
    time: int
    """When the request ended, in seconds since the epoch."""
    tenant: str | None
    key: str | None
    """The id of the key."""
    endpoint: str
    adapter: str
    """The adapter's name in the catalog, or the base's id."""
    revision: int | None
    """None for the base."""
    fallback_for: str | None = None
    """The adapter that was asked for, when this one answered in its place."""
    outcome: str
    """Completed, failed, rejected or cancelled."""
    input_tokens: int
    cached_tokens: int
    """Those of the input that came from the engine's cache."""
    output_tokens: int
    queue_s: float
    """How long the request waited for its turn, without the cold start."""
    cold_start_s: float
    """How long it waited for a fetch and a load."""
    total_s: float
    """From when the model's name was resolved until the answer had ended."""
