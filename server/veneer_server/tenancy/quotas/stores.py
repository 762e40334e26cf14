"""Where buckets are kept: the seam between who asks for a quota and who counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from veneer_server.tenancy.quotas.buckets import Standing
from veneer_server.tenancy.quotas.demands import Demand


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store says to the demands of one request."""

    standings: tuple[Standing, ...]
    """One for each demand, in their order: after it was taken, or as it is when it was not."""
    admitted: bool


class QuotaStore(Protocol):
    """Buckets, and what goes on at the same time."""

    async def take(self, demands: Sequence[Demand], ticket: str) -> Answer:
        """Take what all of ``demands`` ask for at once, or nothing if one of them cannot be met.

        ``ticket`` identifies the request.

        Raises:
            QuotasUnavailable: nobody knows what is left.
        """

    async def settle(self, back: Sequence[Demand], ticket: str) -> None:
        """Give back the costs in ``back``, soon; less than 0 takes more. This never waits."""

    async def run(self) -> None:
        """Do what must be done while time passes, until cancelled."""

    async def close(self) -> None:
        """Give back what still waits for it, and end every connection."""
