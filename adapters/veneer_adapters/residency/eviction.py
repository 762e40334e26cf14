"""Which adapter leaves when the slots are full.

Rule 1: this choice is made in this file only.
Rule 2: this file does no I/O, reads no clock and holds no state. It gets a snapshot and returns a
        choice, so each rule can be read, and tested, on its own.

The least recently used idle adapter leaves first. A leased adapter is never chosen: vLLM would
finish its batch with whatever weights are in the slot.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from veneer_adapters.events import Level


@dataclass(frozen=True, slots=True)
class Resident:
    """One adapter in the engine, as it was at one instant."""

    revision: str
    """The engine name, ``<adapter>@sha256:<24 hex>``."""
    leases: int
    """How many requests use the adapter or wait for it. Above zero it must stay."""
    last_used_s: float
    """When its last lease ended, in seconds on the caller's monotonic clock."""
    pinned: bool = False
    """Whether an operator keeps it in its slot, however long it is idle."""
    level: Level = "device"
    """Whether it is in a device slot (and a host slot), or in a host slot only."""

    @property
    def adapter(self) -> str:
        """The catalog name that the revision belongs to."""
        return self.revision.partition("@")[0]


def choose_victim(residents: Iterable[Resident]) -> str | None:
    """Return the revision to evict, or None when every adapter must stay.

    Ties are broken by the name of the revision, so the same snapshot always gives the same choice.
    """
    idle = [r for r in residents if r.leases == 0 and not r.pinned]
    if not idle:
        return None
    return min(idle, key=lambda r: (r.last_used_s, r.revision)).revision
