"""Who is next when more requests wait than the engine takes: everybody gets a fair share of tokens.

Each tenant has a counter of the tokens that it got, and so has each model of a tenant: an adapter
or the base. The tenant with the lowest counter is next, and of its models the one with the lowest.
What a request costs is known only at its end, so it is charged what is usual and settled later.
Who was away does not come back with a claim: its counter is raised to the lowest of those present.
Work in the background goes only when no live request may, and has counters of its own.

Pure: no clock, no I/O, nothing asynchronous. Source: the virtual token counter of Sheng et al.,
"Fairness in Serving Large Language Models", OSDI 2024, here on two levels.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_USUAL_TOKENS = 256.0
"""What a sequence is expected to take before the first one has ended."""
_WEIGHT = 0.05
"""How much the last request counts in what is usual."""
_TIERS = {"priority": -1, "flex": 1}
"""OpenAI's names of the tiers that are not the usual one. Source: its API's ``service_tier``."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request wants of the engine."""

    tenant: str | None = None
    flow: str = ""
    """The engine's name of the revision; empty for the base model."""
    sequences: int = 1
    priority: int = 0
    """The lower goes first, among the requests of one tenant."""
    background: bool = False
    """Whether it goes only when no live request may; it has counters of its own."""

    @property
    def holder(self) -> "Holder":
        """Whose counter it is."""
        return self.background, self.tenant


Holder = tuple[bool, str | None]
"""Whether the counter is for work in the background, and of which tenant."""


def priority_of(body: Mapping[str, Any]) -> int:
    """Return the priority that ``service_tier`` asks for; the lower goes first."""
    tier = body.get("service_tier")
    return _TIERS.get(tier, 0) if isinstance(tier, str) else 0


@dataclass(eq=False, slots=True)
class Ticket:
    """A request in the queue, or one that was taken from it."""

    ask: Ask
    number: int
    """In the order of arrival."""
    charged: float = 0.0

    def __lt__(self, other: "Ticket") -> bool:
        return (self.ask.priority, self.number) < (other.ask.priority, other.number)


@dataclass(eq=False, slots=True)
class _Flow:
    tokens: float = 0.0
    running: int = 0
    waiting: list[Ticket] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        return not (self.running or self.waiting)


@dataclass(eq=False, slots=True)
class _Tenant:
    tokens: float = 0.0
    flows: dict[str, _Flow] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        return all(flow.is_idle for flow in self.flows.values())

    def sequences(self) -> int:
        return sum(t.ask.sequences for flow in self.flows.values() for t in flow.waiting)


class FairQueue:
    """Requests that wait, and what everybody has got."""

    def __init__(self) -> None:
        self._tenants: dict[Holder, _Tenant] = {}
        self._usual = _USUAL_TOKENS
        self._arrived = 0
        self.waiting = 0
        """How many sequences wait."""

    def push(self, ask: Ask) -> Ticket:
        """Return the ticket of a request that waits from now on."""
        self._arrived += 1
        ticket = Ticket(ask, self._arrived)
        self._add(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """Let a request that was taken wait once more, in the place that it had."""
        self.end(ticket, 0)
        self._add(ticket)

    def discard(self, ticket: Ticket) -> None:
        """Forget a request that waits."""
        flow = self._tenants[ticket.ask.holder].flows[ticket.ask.flow]
        flow.waiting.remove(ticket)
        heapq.heapify(flow.waiting)
        self.waiting -= ticket.ask.sequences
        self._tidy(ticket.ask.holder)

    def take(self, may: Callable[[Ticket], bool]) -> Ticket | None:
        """Take out who is next among those that ``may`` begin, and charge what is usual.

        ``may`` is asked only of the first request of each tenant's model.
        """
        for _, tenant in sorted(self._tenants.items(), key=lambda one: (one[0][0], one[1].tokens)):
            first = min(self._firsts(tenant, may), key=lambda found: found[0], default=None)
            if first is not None:
                flow = first[1]
                ticket = heapq.heappop(flow.waiting)
                self.waiting -= ticket.ask.sequences
                ticket.charged = self._usual * ticket.ask.sequences
                tenant.tokens += ticket.charged
                flow.tokens += ticket.charged
                flow.running += 1
                return ticket
        return None

    def end(self, ticket: Ticket, tokens: int) -> None:
        """Settle a request that was taken: it got so many ``tokens``."""
        ask, tenant = ticket.ask, self._tenants[ticket.ask.holder]
        flow = tenant.flows[ask.flow]
        flow.running -= 1
        tenant.tokens += tokens - ticket.charged
        flow.tokens += tokens - ticket.charged
        if tokens:
            self._usual += _WEIGHT * (tokens / ask.sequences - self._usual)
        self._tidy(ask.holder)

    def waiting_of(self, tenant: str | None) -> int:
        """Return how many sequences of ``tenant`` wait."""
        return sum(self._sequences(background, tenant) for background in (False, True))

    def live_waiting(self) -> int:
        """Return how many sequences wait that are no work in the background."""
        return sum(t.sequences() for (background, _), t in self._tenants.items() if not background)

    def tenants_waiting(self) -> set[str | None]:
        """Return the tenants of which something waits."""
        return {name for (_, name), tenant in self._tenants.items() if tenant.sequences()}

    def all_of(self, flow: str) -> list[Ticket]:
        """Return every waiting request for ``flow``, of whatever tenant."""
        found = (tenant.flows.get(flow) for tenant in self._tenants.values())
        return [ticket for one in found if one for ticket in one.waiting]

    def _sequences(self, background: bool, name: str | None) -> int:
        tenant = self._tenants.get((background, name))
        return tenant.sequences() if tenant is not None else 0

    def _firsts(
        self, tenant: _Tenant, may: Callable[[Ticket], bool]
    ) -> Iterator[tuple[tuple[int, float, int], _Flow]]:
        for flow in tenant.flows.values():
            if flow.waiting and may(first := flow.waiting[0]):
                yield (first.ask.priority, flow.tokens, first.number), flow

    def _add(self, ticket: Ticket) -> None:
        ask = ticket.ask
        tenant = self._tenants.setdefault(ask.holder, _Tenant())
        if tenant.is_idle:
            others = [t for h, t in self._tenants.items() if h[0] is ask.background]
            present = [t.tokens for t in others if not t.is_idle]
            tenant.tokens = max(tenant.tokens, min(present, default=tenant.tokens))
        flow = tenant.flows.setdefault(ask.flow, _Flow())
        if flow.is_idle:
            present = [f.tokens for f in tenant.flows.values() if not f.is_idle]
            flow.tokens = max(flow.tokens, min(present, default=flow.tokens))
        heapq.heappush(flow.waiting, ticket)
        self.waiting += ask.sequences

    def _tidy(self, holder: Holder) -> None:
        """Forget what tells nothing any more, so that the books do not grow."""
        tenant = self._tenants[holder]
        if tenant.is_idle:
            tenant.flows.clear()
        if all(other.is_idle for other in self._tenants.values()):
            self._tenants.clear()
