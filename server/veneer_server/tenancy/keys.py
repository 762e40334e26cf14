"""One key as it is kept, and whether it opens anything. Pure."""

import re
from dataclasses import dataclass, replace

from veneer_server.tenancy.limits import UNLIMITED, Limits
from veneer_server.tenancy.principals import Principal, owner_of
from veneer_server.tenancy.scopes import Scope

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def is_tenant(text: str) -> bool:
    """Return whether ``text`` may name a tenant, and so the namespace of its adapters."""
    return _TENANT.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. Times are in seconds since the epoch."""

    id: str
    tenant: str | None
    """None means that it is the operator's."""
    name: str
    scopes: tuple[Scope, ...]
    patterns: tuple[str, ...] | None
    """The allow-list of adapters; None means everything."""
    created: int
    expires: int | None = None
    revoked: int | None = None
    limits: Limits = UNLIMITED

    def opens(self, now: float) -> bool:
        """Return whether the key is good now."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def revoke(self, now: int) -> "Key":
        """Return the key as it is after somebody revoked it; the first time counts."""
        return self if self.revoked is not None else replace(self, revoked=now)

    def principal(self) -> Principal:
        """Return who sends a request with this key."""
        return Principal(
            owner=owner_of(f"tenant:{self.tenant}" if self.tenant else f"key:{self.id}"),
            tenant=self.tenant,
            key_id=self.id,
            scopes=frozenset(self.scopes),
            patterns=self.patterns,
            limits=self.limits,
        )
