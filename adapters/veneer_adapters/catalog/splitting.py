"""Which of an alias's targets answers one request. No I/O, no clock, no state."""

import hashlib
from dataclasses import dataclass

from veneer_adapters.catalog.alias import Alias


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
