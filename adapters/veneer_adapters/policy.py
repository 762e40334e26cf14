"""Which adapter leaves when the slots are full, and which revision of a split alias answers.

Rule 1: every such decision is made in this file.
Rule 2: this file does no I/O, reads no clock and holds no state. It is given a snapshot
        and returns a verdict, so each rule can be read, and tested, on its own.

The order of eviction is least-recently-used among idle adapters. A leased adapter is never chosen:
vLLM would finish its batch with whatever weights are in the slot.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from veneer_adapters.alias import Alias

Level = Literal["device", "host"]


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


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom an alias with several targets may keep on one of them."""

    user: str | None = None
    """What the client calls its end user."""
    key: str | None = None
    """Which key was presented, as a digest of it."""
    draw: float = 0.0
    """A random number in [0, 1), drawn once for the request."""


def choose_target(adapter: str, alias: Alias, caller: Caller | None) -> int:
    """Return the number of the revision that answers one request for ``alias``.

    Without a caller, or an unsplit alias: the main target. With a sticky alias the same caller
    gets the same target, and a change of the weights moves as few callers as can be.
    """
    if caller is None or len(alias.targets) == 1:
        return alias.main
    known = {"user": caller.user, "key": caller.key}.get(alias.sticky or "")
    share = _share_of(f"{adapter}@{alias.name}:{known}") if known else caller.draw
    at = share * sum(target.weight for target in alias.targets)
    for target in alias.targets:
        at -= target.weight
        if at < 0:
            return target.revision
    return alias.targets[-1].revision


def _share_of(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
