"""What one request takes from each limit that applies to it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from veneer_server.tenancy.limits import Limits


class Kind(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    """Requests per minute."""
    TOKENS = "tokens"
    """Tokens per minute."""
    CONCURRENCY = "concurrency"
    """Requests at the same time."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose limit it is."""

    id: str
    """No two holders share it."""
    shown: str
    """How a message names it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that a request may use."""

    tokens: int
    is_open: bool = False
    """Whether nobody said how much it may write: then it takes no more than a limit can give."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request takes from one limit."""

    holder: Holder
    kind: Kind
    limit: int
    cost: int

    def giving_back(self, used: int) -> "Demand":
        """Return what is left of the cost; less than 0 when more than that was used."""
        return replace(self, cost=self.cost - used)


def demands(held: Iterable[tuple[Holder, Limits]], cost: Cost) -> Iterator[Demand]:
    """Yield what a request of this ``cost`` takes from each limit of its holders."""
    for holder, limits in held:
        if limits.rpm is not None:
            yield Demand(holder, Kind.REQUESTS, limits.rpm, 1)
        if limits.tpm is not None:
            tokens = min(cost.tokens, limits.tpm) if cost.is_open else cost.tokens
            yield Demand(holder, Kind.TOKENS, limits.tpm, tokens)
        if limits.concurrency is not None:
            yield Demand(holder, Kind.CONCURRENCY, limits.concurrency, 1)
