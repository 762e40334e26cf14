"""Which adapter leaves when the slots are full, and which revision of a split alias answers.

Rule 1: every such decision is made in this file.
Rule 2: this file does no I/O, reads no clock and holds no state. It is given a snapshot
        and returns a verdict, so each rule can be read, and tested, on its own.

The order of eviction is least-recently-used among idle adapters. A leased adapter is never chosen:
vLLM would finish its batch with whatever weights are in the slot.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from veneer_adapters.events import Level


@dataclass(frozen=True, slots=True)
class Resident:
    """One adapter registered in the engine, as seen at a single instant."""

    revision: str
    """The engine name, ``<adapter>@sha256:<24 hex>``."""
    leases: int
    """Requests now using the adapter, or waiting for it. Above zero means it must stay."""
    last_used_s: float
    """When the last lease ended, in seconds on the caller's monotonic clock."""
    pinned: bool = False
    """Kept by an operator, whatever its age."""
    level: Level = "device"
    """Where it is: in a device slot (and a host slot), or in a host slot only."""

    @property
    def adapter(self) -> str:
        """The catalog name the revision belongs to."""
        return self.revision.partition("@")[0]


def choose_victim(residents: Iterable[Resident]) -> str | None:
    """Return the revision to evict, or None when every slot must stay.

    Ties are broken by revision so that the same snapshot always gives the same verdict.
    """
    idle = [r for r in residents if r.leases == 0 and not r.pinned]
    if not idle:
        return None
    return min(idle, key=lambda r: (r.last_used_s, r.revision)).revision
