"""Everything that is kept between requests, and who works on it."""

from dataclasses import dataclass
from importlib.resources import files

from veneer_adapters.catalog.database import Database, Migrations
from veneer_server.conversations.conversations import Conversations
from veneer_server.conversations.responses import Responses
from veneer_server.conversations.runs import Runs, ToLast
from veneer_server.conversations.sql.store import Store
from veneer_server.conversations.turns import Turns
from veneer_server.conversations.upkeep import Upkeep

MIGRATIONS = Migrations(str(files("veneer_server") / "migrations"), "server_version")
"""The chain that makes the server's own tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is kept, and for how long."""

    ttl_s: int
    max_bytes: int
    max_items: int
    """Most items of a conversation."""
    max_background: int
    background_timeout_s: float


@dataclass(frozen=True, slots=True)
class Kept:
    """The parts that share one store."""

    turns: Turns
    runs: Runs
    responses: Responses
    conversations: Conversations
    upkeep: Upkeep

    @classmethod
    def within(
        cls, bounds: Bounds, database: Database, to_last: ToLast, *, by_default: bool
    ) -> "Kept":
        """Return the parts for ``database``; the arguments are those of ``Runs`` and ``Turns``."""
        store = Store(database, ttl_s=bounds.ttl_s)
        runs = Runs(
            store, to_last, most=bounds.max_background, longest_s=bounds.background_timeout_s
        )
        return cls(
            Turns(store, by_default=by_default),
            runs,
            Responses(store, runs),
            Conversations(store, most_items=bounds.max_items, ttl_s=bounds.ttl_s),
            Upkeep(store, runs, max_bytes=bounds.max_bytes),
        )
