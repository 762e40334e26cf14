"""How much of its limits a request may use, and what it really used.

How many tokens a prompt has is known only once the engine's process has rendered it. So a request
reserves an estimate, and settles what the engine counted.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from veneer_server.engine.base import NO_WEIGHTS, Endpoint
from veneer_server.serving.admission import sequences_of
from veneer_server.telemetry.observation import Observation
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.quotas.demands import Cost
from veneer_server.tenancy.quotas.quotas import Charge, Quotas, Reservation

_READ = ("messages", "prompt", "input", "instructions", "system", "tools", "functions", "suffix")
_WRITES = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_BYTES_PER_TOKEN = 4
_COMPLETION_TOKENS = 16
"""What ``/v1/completions`` writes when nobody says how much."""


def cost_of(endpoint: Endpoint, body: Mapping[str, Any], context: int) -> tuple[Cost, int]:
    """Return the most tokens that ``body`` may use, and how many of them its prompt may have.

    A prompt has a token for each four bytes, rounded up, and none has more than the model's
    ``context``. Where the body does not say how much may be written, it is the rest of the context.
    """
    sequences = sequences_of(body)
    read = min(_bytes_of(body) // -_BYTES_PER_TOKEN * -1, context * sequences)
    stated = _stated(endpoint, body)
    written = max(context - read // sequences, 1) if stated is None else stated
    return Cost(read + written * sequences, is_open=stated is None), read


def charge_of(seen: Observation | None, read: int) -> Charge:
    """Return what counts of a request that has ended; ``read`` is the estimate of its prompt.

    Whatever failed is the server's fault, so nothing counts. What the engine refused counts as a
    request. Of what the client left, the tokens count that were written until then.
    """
    if seen is None or seen.outcome == "failed":
        return Charge()
    if seen.outcome == "rejected":
        return Charge(requests=1)
    counted = seen.input_tokens if seen.outcome == "completed" else seen.input_tokens or read
    return Charge(1, counted + seen.output_tokens)


class Held:
    """What one request holds of its limits."""

    def __init__(self, reservation: Reservation) -> None:
        self.headers = reservation.headers
        self.seen: Observation | None = None
        """The counts of the request, once there are any; they are settled at the end."""


class Spending:
    """Holds a place within the limits for each request that generates."""

    def __init__(self, quotas: Quotas, context: int) -> None:
        """``context`` is how many tokens a prompt and its answer may have together."""
        self._quotas = quotas
        self._context = context

    @asynccontextmanager
    async def request(
        self, who: Principal, endpoint: Endpoint, body: Mapping[str, Any]
    ) -> AsyncIterator[Held]:
        """Hold what ``body`` may use until the block ends; then only what it used counts.

        Raises what ``Quotas.reserve`` raises.
        """
        held = self._quotas.limits(who)
        if endpoint in NO_WEIGHTS or not held:
            yield Held(Reservation())
            return
        cost, read = cost_of(endpoint, body, self._context)
        async with self._quotas.reserve(held, cost) as reservation:
            holding = Held(reservation)
            try:
                yield holding
            finally:
                reservation.charge = charge_of(holding.seen, read)


def _stated(endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
    for name in _WRITES:
        if isinstance(most := body.get(name), int):
            return max(most, 0)
    return _COMPLETION_TOKENS if endpoint is Endpoint.COMPLETIONS else None


def _bytes_of(body: Mapping[str, Any]) -> int:
    size, waiting = 0, [body.get(name) for name in _READ]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            size += len(each) if each.isascii() else len(each.encode(errors="surrogatepass"))
        elif isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, int):
            size += _BYTES_PER_TOKEN  # the id of a token
    return size
