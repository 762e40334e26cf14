"""Takes a place within all limits for each request, and settles it when the request has ended."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from veneer_server.tenancy.errors import QuotaExceeded, RateLimited, TokensLimited
from veneer_server.tenancy.limits import UNLIMITED, Limits
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.quotas import wording
from veneer_server.tenancy.quotas.demands import Cost, Demand, Holder, Kind, demands
from veneer_server.tenancy.quotas.stores import Answer, QuotaStore

_EVERYBODY = Holder("server", "this server")


@dataclass(slots=True)
class Charge:
    """What a request used, as far as is known; nothing until somebody says so."""

    requests: int = 0
    tokens: int = 0

    def of(self, kind: Kind) -> int:
        """Return what counts for a limit of this kind; nothing stays of a place that is free."""
        return {Kind.REQUESTS: self.requests, Kind.TOKENS: self.tokens}.get(kind, 0)


@dataclass(slots=True)
class Reservation:
    """What a request holds until its block ends."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """What the answer says of the limits; empty without limits."""
    charge: Charge = field(default_factory=Charge)
    """Settled at the end: what is not in it is given back."""


class Quotas:
    """The limits of everybody, of each tenant and of each key."""

    def __init__(
        self,
        store: QuotaStore,
        *,
        of_everybody: Callable[[], Limits] = lambda: UNLIMITED,
        of_tenant: Callable[[str], Limits] = lambda _: UNLIMITED,
    ) -> None:
        """Count in ``store``. A key brings its own limits; ``of_tenant`` has those of tenants.

        The limits are asked for by each request, so they may change at any time.
        """
        self.store = store
        self._of_everybody = of_everybody
        self._of_tenant = of_tenant

    def limits(self, who: Principal) -> list[tuple[Holder, Limits]]:
        """Return the limits that apply to ``who``; an empty list if there are none."""
        found = [(_EVERYBODY, self._of_everybody())]
        if who.tenant is not None:
            holder = Holder(f"tenant:{who.tenant}", f"the tenant {who.tenant}")
            found.append((holder, self._of_tenant(who.tenant)))
        if who.key_id is not None:
            found.append((Holder(f"key:{who.key_id}", "your key"), who.limits))
        return [(holder, limits) for holder, limits in found if limits]

    @asynccontextmanager
    async def reserve(
        self, held: Iterable[tuple[Holder, Limits]], cost: Cost
    ) -> AsyncIterator[Reservation]:
        """Hold what a request may use at most, until the block ends; then settle its ``charge``.

        Raises:
            RateLimited: a limit is reached; the error says when to try again.
            QuotaExceeded: the request alone is larger than a limit.
            QuotasUnavailable: nobody knows what is left.
        """
        asked = tuple(demands(held, cost))
        _require_possible(asked)
        ticket = secrets.token_hex(8)
        answer = await self.store.take(asked, ticket)
        told = _told(asked, answer)
        reservation = Reservation(told)
        try:
            yield reservation
        finally:
            used = reservation.charge
            await self.store.settle([d.giving_back(used.of(d.kind)) for d in asked], ticket)


def _require_possible(asked: Iterable[Demand]) -> None:
    for demand in asked:
        if demand.kind is Kind.TOKENS and demand.cost > demand.limit:
            raise QuotaExceeded(wording.beyond(demand))


def _told(asked: tuple[Demand, ...], answer: Answer) -> dict[str, str]:
    pairs = list(zip(asked, answer.standings, strict=True))
    told = wording.headers(pairs)
    if not answer.admitted:
        demand, standing = max(wording.refused(pairs), key=lambda pair: pair[1].wait_us)
        error = TokensLimited if demand.kind is Kind.TOKENS else RateLimited
        wait_s = wording.retry_after_s(answer.standings)
        raise error(wording.refusal(demand, standing), retry_after_s=wait_s, headers=told)
    return told
