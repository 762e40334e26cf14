"""The life of one request: resolve the name, wait for its turn, lease the adapter, generate.

Rule: a request runs on exactly the revision that its name resolved to. The lease ends only after
the engine was told to stop generating, and its place among the sequences after the lease.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.residency.residency import Lease, Residency
from veneer_server.engine.base import (
    NO_WEIGHTS,
    Answer,
    Call,
    Endpoint,
    Engine,
    Frames,
    Take,
)
from veneer_server.serving.admission import Admission, Place, sequences_of
from veneer_server.serving.cold_starts import ColdStarts
from veneer_server.serving.fairness import Ask, priority_of
from veneer_server.serving.resolving import Asker, Resolver
from veneer_server.serving.spending import Held, Spending
from veneer_server.serving.tokens import with_usage
from veneer_server.serving.watching import Watching
from veneer_server.serving.wishes import TurnTooLate
from veneer_server.telemetry.observation import Observation
from veneer_server.tenancy.principals import Principal, cache_salt


@dataclass(frozen=True, slots=True)
class Served:
    """What a request asked for, and who answers it."""

    asked: str
    """The model as the client wrote it; answers repeat it."""
    revision: Revision | None
    """None means the base model."""
    seen: Observation
    """The counts of this request; they are complete when its answer is complete."""
    cold_start_s: float | None = None
    """Seconds that the request waited for a fetch and a load, None when it did not wait."""
    fell_back: bool = False
    """Whether something else answers than what the client named, because it asked for that."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """The headers that say how the limits stand of who asks."""
    compressed: float | None = None
    """The relative error of an adapter that was compressed to fit its slot, else None."""


class Stream:
    """An answer in parts. The caller must close it; that also ends the lease."""

    def __init__(
        self,
        served: Served,
        first: bytes | None,
        rest: Frames,
        owned: AsyncExitStack,
        divert: Callable[[Take | None], None] = lambda take: None,
    ) -> None:
        self.served = served
        self._first = first
        self._rest = rest
        self._owned = owned
        self.divert = divert
        """Let ``Take`` send events past whoever iterates; with None all are iterated again.

        Only what has text and nothing else comes to it, and only while the next event is awaited.
        """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first is not None:
            yield self._first
            async for frame in self._rest:
                yield frame

    async def aclose(self) -> None:
        """Stop generating, then end the lease; a second call does nothing."""
        await self._owned.aclose()


@dataclass(frozen=True, slots=True)
class Document:
    """An answer in one piece."""

    served: Served
    body: dict[str, Any]


class RequestService:
    """Answers requests with the base model or an adapter."""

    def __init__(
        self,
        engine: Engine,
        resolver: Resolver,
        residency: Residency,
        watching: Watching,
        admission: Admission,
        cold_starts: ColdStarts,
        spending: Spending,
        *,
        secret: str = "",
    ) -> None:
        """Every tenant gets a cache salt of its own, made with ``secret``."""
        self._engine = engine
        self._resolver = resolver
        self._residency = residency
        self._watching = watching
        self._admission = admission
        self._cold_starts = cold_starts
        self._spending = spending
        self._secret = secret

    def hold(
        self, endpoint: Endpoint, body: Mapping[str, Any], asker: Asker
    ) -> AbstractAsyncContextManager[Held]:
        """Hold a place within the limits of ``asker`` for a request that comes later.

        The block of what is returned must be open until ``respond``, which gets the place, has
        ended and its stream is closed.

        Raises:
            TenancyError: a limit of who asks is reached.
        """
        return self._spending.request(asker.principal, endpoint, body)

    async def respond(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        ids: dict[str, str] | None = None,
        asker: Asker | None = None,
        held: Held | None = None,
    ) -> Document | Stream:
        """Answer ``body`` with a document, or with a stream whose first event has arrived.

        ``ids`` identify the request in logs and traces. ``asker`` is the user or key that a
        sticky alias keeps on one target. ``held`` is the place within the limits, from ``hold``;
        without it the request takes one.

        Raises:
            AdapterError: the model cannot be resolved, or its adapter cannot be loaded.
            EngineError: the body names no model, or the engine refused the request or failed.
            Overloaded: too many sequences wait already.
            AdapterCold: the adapter is in no slot, and ``asker`` does not want to wait.
            TurnTooLate: ``asker`` did not want to wait for so long.
            TenancyError: a limit of who asks is reached.
        """
        asker = asker or Asker()
        who = asker.principal
        resolved = await self._resolver.resolve(endpoint, body, asker)
        await self._engine.wait_until_able()
        async with AsyncExitStack() as stack:
            held = await stack.enter_async_context(
                nullcontext(held) if held else self.hold(endpoint, body, asker)
            )
            if endpoint not in NO_WEIGHTS:
                resolved = await self._cold_starts.settle(resolved, asker)
            place = self._place(endpoint, body, resolved.revision, asker, stack)
            watch = stack.enter_context(self._watching.request(resolved, endpoint, body, ids, who))
            held.seen = watch.seen
            if place is not None:
                stack.callback(_settle, place, watch.seen)
            with watch.current():
                lease = await self._in_time(place, resolved.revision, asker, stack)
            cold_s = _cold_start_s(lease, place)
            self._cold_starts.took(cold_s)
            watch.waited(resolved.pulled_s, cold_s)
            waits_s = [seconds for seconds in (resolved.pulled_s, cold_s) if seconds is not None]
            served = Served(
                resolved.asked,
                resolved.revision,
                watch.seen,
                sum(waits_s) if waits_s else None,
                resolved.instead_of is not None,
                held.headers,
                lease.compressed if lease else None,
            )
            model = lease.engine_name if lease else self._engine.model.id
            asking, hide_usage = with_usage(endpoint, body)
            call = Call(
                endpoint,
                {**asking, "model": model},
                uuid4().hex,
                watch.headers(),
                cache_salt(who.tenant, self._secret),
            )
            with watch.asking():
                found = await self._engine.respond(call)
            if isinstance(found, Answer):
                watch.document(found.body)
                return Document(served, found.body)
            # This closes before the lease ends: a slot must not change under a running request.
            await stack.enter_async_context(aclosing(found))
            return await self._begin(
                served,
                watch.frames(found, hide_usage=hide_usage),
                stack,
                partial(watch.divert, call.outlet),
            )
        raise AssertionError("an exit stack swallowed an exception")  # pragma: no cover

    def require_known(self, body: Mapping[str, Any], who: Principal) -> None:
        """Return if the model of ``body`` is there; raises as ``Resolver.require_known``."""
        self._resolver.require_known(body, who)

    async def _begin(
        self,
        served: Served,
        watched: Frames,
        stack: AsyncExitStack,
        divert: Callable[[Take | None], None],
    ) -> Stream:
        await stack.enter_async_context(aclosing(watched))
        # Wait for the first event here, because an error can still choose the status code now.
        first = await anext(watched, None)
        return Stream(served, first, watched, stack.pop_all(), divert)

    def _place(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        revision: Revision | None,
        asker: Asker,
        stack: AsyncExitStack,
    ) -> Place | None:
        if endpoint in NO_WEIGHTS:
            return None
        flow = revision.engine_name if revision else ""
        ask = Ask(
            asker.principal.tenant,
            flow,
            sequences_of(body),
            priority_of(body),
            background=asker.background,
        )
        return stack.enter_context(self._admission.place(ask))

    async def _in_time(
        self, place: Place | None, revision: Revision | None, asker: Asker, stack: AsyncExitStack
    ) -> Lease | None:
        within_s = asker.wishes.begin_within_s
        if within_s is None:
            return await self._lease(place, revision, stack)
        waiting = asyncio.timeout(within_s)
        try:
            async with waiting:
                return await self._lease(place, revision, stack)
        except TimeoutError as error:
            if waiting.expired():
                raise TurnTooLate(within_s) from error
            raise

    async def _lease(
        self, place: Place | None, revision: Revision | None, stack: AsyncExitStack
    ) -> Lease | None:
        if place is None:
            return None
        if revision is None:
            await place.turn()
            return None
        with self._watching.lease():
            await place.turn()
            lease = await stack.enter_async_context(self._residency.lease(revision))
            await place.seat()
            return lease


def _settle(place: Place, seen: Observation) -> None:
    place.tokens = seen.input_tokens + seen.output_tokens


def _cold_start_s(lease: Lease | None, place: Place | None) -> float | None:
    cold_s = lease.cold_start_s if lease else None
    return place.cold_start_s if cold_s is None and place is not None else cold_s
