"""What residency needs from outside, and whom it tells: two seams, implemented by the server."""

from pathlib import Path
from typing import Literal, Protocol

from veneer_adapters.policy import Level

ObservedKind = Literal["load_started", "load_finished", "evicted", "cold_start"]
Outcome = Literal["loaded", "failed"]
Origin = Literal["disk", "host"]
EvictionReason = Literal["room", "forgotten", "load_failed"]


class AdapterHost(Protocol):
    """The engine, as far as adapters are concerned. It never evicts by itself.

    Each call either succeeds or raises; after a raise the slot is cleaned by
    ``unload_adapter``, which must accept an id that is only half there or not there at all.
    """

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Read ``path`` into a host slot and copy it into a device slot."""

    async def activate_adapter(self, engine_id: int) -> None:
        """Copy the adapter from its host slot into a device slot."""

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Free the device slot; the host copy stays. No request uses the adapter."""

    async def unload_adapter(self, engine_id: int) -> None:
        """Free the host slot and the device slot. No request uses the adapter."""


class Observer(Protocol):
    """Is told what happens, to count it; must not raise and must not wait."""

    def on_event(
        self,
        kind: ObservedKind,
        adapter: str,
        *,
        seconds: float | None = None,
        outcome: Outcome | None = None,
        origin: Origin | None = None,
        level: Level | None = None,
        reason: EvictionReason | None = None,
    ) -> None:
        """Count one event of ``adapter``, a catalog name.

        load_started: origin. load_finished: origin, seconds, outcome. evicted: reason and
        level, ``device`` when the host copy stayed. cold_start: seconds one request waited.
        """


class Unobserved:
    """The observer that counts nothing."""

    def on_event(
        self,
        kind: ObservedKind,
        adapter: str,
        *,
        seconds: float | None = None,
        outcome: Outcome | None = None,
        origin: Origin | None = None,
        level: Level | None = None,
        reason: EvictionReason | None = None,
    ) -> None:
        """Forget the event."""
