"""Who may use the engine now, who waits, and when somebody who may not should ask again.

The engine generates ``max_seqs`` sequences at a time. A few more wait in its own queue, so that it
never stands still; all others wait here, and ``fairness`` says who is next.

A request waits for two things: a place among the sequences, and its adapter in a device slot. Of
the requests for an adapter that is in no slot, or whose slot yields, one at a time asks for the
slot, and the others wait here without a hold on it. So a slot is never kept by a queue.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from veneer_adapters.errors import AdapterError
from veneer_server.serving.fairness import Ask, FairQueue, Ticket

_REMEMBERED = 64
_LONGEST_S = 60
_AHEAD = 8
"""One sequence for each so many of ``max_seqs`` waits in the engine's own queue."""


class Overloaded(Exception):
    """Too many sequences wait already."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """``retry_after_s`` is when half of those that wait now will have begun."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


def sequences_of(body: Mapping[str, Any]) -> int:
    """Return how many sequences the engine generates for ``body``: ``n`` for each prompt."""
    n, prompt = body.get("n"), body.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return (n if isinstance(n, int) else 1) * (len(prompt) if several and prompt else 1)


def retry_after_s(waiting: int, ended_per_s: float) -> int:
    """Return in how many seconds half of the ``waiting`` will have begun, between 1 and 60."""
    if ended_per_s <= 0:
        return _LONGEST_S
    return min(max(math.ceil(waiting / 2 / ended_per_s), 1), _LONGEST_S)


class Place:
    """One request's place in the queue, and later among the sequences."""

    def __init__(self, admission: "Admission", ticket: Ticket) -> None:
        self.ticket = ticket
        self.is_seated = False
        """Whether the engine may be asked now."""
        self.is_fetching = False
        """Whether it is to get its adapter into a slot before it is seated."""
        self.holds_slot = False
        self.tokens = 0
        """What it got of the engine; set it before the place is given back."""
        self.cold_start_s: float | None = None
        """How long it waited, if its adapter was in no slot that it could use; else None."""
        self._admission = admission
        self._called = asyncio.Event()

    async def turn(self) -> None:
        """Wait until this request may lease its adapter, or use the base model."""
        if not self._called.is_set():
            with self._admission.timing(self):
                await self._called.wait()

    async def seat(self) -> None:
        """Wait for a place among the sequences; the adapter is leased already."""
        if not self.is_seated:
            self._called.clear()
            self._admission.slot_is_held(self)
            await self._called.wait()

    def call(self) -> None:
        """Let the request go on."""
        self._called.set()


class Admission:
    """The sequences that generate, and those that wait. For one event loop."""

    def __init__(
        self,
        max_seqs: int,
        max_queue: int,
        *,
        is_open: Callable[[str], bool] = lambda flow: True,
        most_fetching: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let ``max_queue`` sequences wait while ``max_seqs`` generate.

        ``is_open`` says whether an adapter is in a slot that new requests may use; at most
        ``most_fetching`` adapters are asked for at a time.
        """
        self._max_seqs = max_seqs
        self._max_queue = max_queue
        self._is_open = is_open
        self._most_fetching = most_fetching
        self._clock = clock
        self._queue = FairQueue()
        self._places: dict[Ticket, Place] = {}
        self._seated = 0
        self._fetching: set[str] = set()
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)

    @contextmanager
    def place(self, ask: Ask) -> Iterator[Place]:
        """Hold a place in the queue, and later among the sequences, until the block ends.

        A request gets places for all of its sequences, or none.

        Raises:
            Overloaded: ``max_queue`` sequences wait already, and the tenant has its share of them.
        """
        self._require_room(ask.tenant)
        place = Place(self, self._queue.push(ask))
        self._places[place.ticket] = place
        self._admit()
        try:
            yield place
        except AdapterError:
            if place.is_fetching:  # the others must learn why too: they share one more attempt
                self._let_all_fetch(ask.flow)
            raise
        finally:
            self._leave(place)
            self._admit()

    @contextmanager
    def timing(self, place: Place) -> Iterator[None]:
        """Note how long the block takes, if ``place`` waits for its adapter."""
        began_s, is_cold = self._clock(), not self._is_usable(place.ticket.ask.flow)
        yield
        if is_cold:
            place.cold_start_s = self._clock() - began_s

    @property
    def waiting(self) -> int:
        """How many sequences wait for their turn."""
        return self._queue.waiting

    @property
    def live_waiting(self) -> int:
        """How many sequences wait, here or in the engine, beside those of work in background."""
        return self._queue.live_waiting() + max(self._seated - self._max_seqs, 0)

    @property
    def live_running(self) -> int:
        """How many sequences the engine has, beside those of work in background."""
        seated = (ticket.ask for ticket, place in self._places.items() if place.is_seated)
        return sum(ask.sequences for ask in seated if not ask.background)

    def slot_is_held(self, place: Place) -> None:
        """Let ``place``, whose adapter is leased now, wait for its turn among the sequences."""
        self._fetching.discard(place.ticket.ask.flow)
        place.is_fetching, place.holds_slot = False, True
        self._queue.give_back(place.ticket)
        self._admit()

    def _admit(self) -> None:
        while self._seated < self._max_seqs + self._max_seqs // _AHEAD:
            ticket = self._queue.take(self._may_begin)
            if ticket is None:
                break
            self._seated += ticket.ask.sequences
            self._places[ticket].is_seated = True
            self._places[ticket].call()
        while len(self._fetching) < self._most_fetching:
            ticket = self._queue.take(self._may_fetch)
            if ticket is None:
                return
            self._fetching.add(ticket.ask.flow)
            self._let_fetch(ticket)

    def _may_begin(self, ticket: Ticket) -> bool:
        return self._places[ticket].holds_slot or self._is_usable(ticket.ask.flow)

    def _may_fetch(self, ticket: Ticket) -> bool:
        flow = ticket.ask.flow
        return not (self._places[ticket].holds_slot or flow in self._fetching) and (
            not self._is_usable(flow)
        )

    def _is_usable(self, flow: str) -> bool:
        return not flow or self._is_open(flow)

    def _let_fetch(self, ticket: Ticket) -> None:
        self._places[ticket].is_fetching = True
        self._places[ticket].call()

    def _let_all_fetch(self, flow: str) -> None:
        waiting = {t for t in self._queue.all_of(flow) if not self._places[t].holds_slot}
        while (ticket := self._queue.take(waiting.__contains__)) is not None:
            self._let_fetch(ticket)

    def _leave(self, place: Place) -> None:
        ticket = place.ticket
        del self._places[ticket]
        if place.is_seated:
            self._seated -= ticket.ask.sequences
            self._ends.extend([self._clock()] * ticket.ask.sequences)
        if place.is_fetching:
            self._fetching.discard(ticket.ask.flow)
        if place.is_seated or place.is_fetching:
            self._queue.end(ticket, place.tokens)
        else:
            self._queue.discard(ticket)

    def _require_room(self, tenant: str | None) -> None:
        waiting = self._queue.waiting + max(self._seated - self._max_seqs, 0)
        if waiting < self._max_queue:
            return
        sharers = len(self._queue.tenants_waiting() | {tenant})
        if sharers == 1 or self._queue.waiting_of(tenant) >= self._max_queue / sharers:
            raise Overloaded(
                f"The server is overloaded: {waiting} answers wait for their turn. Try later.",
                retry_after_s=retry_after_s(waiting, self._ended_per_s()),
            )

    def _ended_per_s(self) -> float:
        if not self._ends:
            return 0.0
        return len(self._ends) / max(self._clock() - self._ends[0], 0.001)
