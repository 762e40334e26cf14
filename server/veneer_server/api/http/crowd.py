"""What is done when too many connections are open. Pure functions."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

PROBES = frozenset({"/health", "/livez", "/readyz", "/ping", "/metrics"})
"""What is answered even then; scrapers and probes also write no line in the log."""


class MayBeIdle(Protocol):
    """A connection on which nobody may be waiting."""

    def idle_since_s(self) -> float | None:
        """Return when its client last got an answer or connected; None while it waits for one."""


T = TypeVar("T", bound=MayBeIdle)


def choose_idlest(connections: Iterable[T]) -> T | None:
    """Return the connection that has been idle longest, None if none is idle."""
    idle = {one: since_s for one in connections if (since_s := one.idle_since_s()) is not None}
    return min(idle, key=lambda one: idle[one]) if idle else None
