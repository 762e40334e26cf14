"""Which target of an alias answers one request. No I/O, no clock, no state."""

import hashlib
from dataclasses import dataclass

from veneer_adapters.catalog.alias import Alias


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, so that a sticky alias can keep this caller on one target."""

    user: str | None = None
    """The end user, as the client names them in the request."""
    key: str | None = None
    """A digest of the API key that the client presented."""
    draw: float = 0.0
    """A random number in [0, 1), drawn once for the request."""


def choose_target(adapter: str, alias: Alias, caller: Caller | None) -> int:
    """Return the number of the revision that answers one request for ``alias``.

    Without a caller, and for an alias with one target, this is the main target. A sticky alias
    gives the same caller the same target, and a change of the weights moves as few callers as
    possible.
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
