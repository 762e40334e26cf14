"""Who a request is from, as far as rules care. Pure."""

import hashlib
import hmac
from dataclasses import dataclass

from veneer_adapters.errors import quoted
from veneer_server.tenancy.errors import NotOwned
from veneer_server.tenancy.limits import UNLIMITED, Limits
from veneer_server.tenancy.patterns import BASE, matches
from veneer_server.tenancy.scopes import EVERY_SCOPE, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who sends requests. What they may not use does not exist for them."""

    owner: str = ""
    """Whose stored responses and conversations they see."""
    tenant: str | None = None
    """None means the operator, to whom no rule of a tenant applies."""
    key_id: str | None = None
    scopes: frozenset[Scope] = EVERY_SCOPE
    patterns: tuple[str, ...] | None = None
    """The allow-list; None means everything."""
    limits: Limits = UNLIMITED
    """Those of the key itself; its tenant and the server may have others."""

    def may(self, scope: Scope) -> bool:
        """Return whether they may do what needs ``scope``."""
        return scope in self.scopes or (scope is Scope.USAGE and Scope.KEYS_ADMIN in self.scopes)

    def reads_usage_of(self) -> str | None:
        """Return the tenant whose usage is all that exists for them; None if everybody's does."""
        return None if Scope.KEYS_ADMIN in self.scopes else self.tenant

    def sees(self, adapter: str) -> bool:
        """Return whether the adapter of this name exists for them."""
        return self.patterns is None or matches(adapter, self.patterns)

    def sees_base(self) -> bool:
        """Return whether the base model itself exists for them."""
        return self.patterns is None or BASE in self.patterns

    def owns(self, adapter: str) -> bool:
        """Return whether they may publish under this name, and change what is there."""
        return self.tenant is None or adapter.startswith(f"{self.tenant}/")

    def require_owner(self, adapter: str) -> None:
        """Return when they own this name.

        Raises:
            NotOwned: the message names the namespace that is theirs.
        """
        if not self.owns(adapter):
            raise NotOwned(
                f"Your key may publish and change only what begins with {self.tenant}/, not"
                f" {quoted(adapter)}."
            )


ANYBODY = Principal()
"""The operator without a key: who asks as long as the server has no key at all."""


def owner_of(what: str) -> str:
    """Return under which name things are kept for ``what``; empty for nothing."""
    return hashlib.blake2b(what.encode(), digest_size=16).hexdigest() if what else ""


def cache_salt(tenant: str | None, secret: str) -> str | None:
    """Return what keeps the prompts of ``tenant`` apart in the engine's prefix cache.

    Otherwise the time to the first token would tell one tenant which prompts another one sends.
    The operator's requests share the cache without a salt.
    """
    if tenant is None:
        return None
    return hmac.new(secret.encode(), tenant.encode(), hashlib.sha256).hexdigest()


def default_patterns(tenant: str) -> tuple[str, ...]:
    """Return the allow-list of a tenant's key for which nobody asked for another.

    It has the base, what no tenant owns, and what the tenant owns.
    """
    return (BASE, "*", f"{tenant}/*")
