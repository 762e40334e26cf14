"""The life of one request: resolve the name, lease the adapter, generate, give back.

Rule: a request runs on exactly the revision its name resolved to, and the lease ends only
after the engine was told to stop generating.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.residency.residency import Lease, Residency
from veneer_server.engine.base import (
    NO_WEIGHTS,
    Answer,
    Call,
    Endpoint,
    Engine,
    Frames,
    RequestRejected,
)
from veneer_server.serving.canaries.watching import Canaries
from veneer_server.serving.resolving import Asker, Resolved, Resolver
from veneer_server.serving.tokens import counted, usage_of, with_usage
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.observation import Observation
from veneer_server.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Served:
    """Who answers a request."""

    asked: str
    """The model as the client wrote it; answers repeat it."""
    revision: Revision | None
    """None for the base."""
    seen: Observation
    """What is counted of the request; complete when its answer is."""
    cold_start_s: float | None = None
    """How long the request waited for a fetch and a load, None when it did not."""


class Stream:
    """An answer in parts. Whoever gets it closes it, which also ends the lease."""

    def __init__(
        self, served: Served, first: bytes | None, rest: Frames, owned: AsyncExitStack
    ) -> None:
        self.served = served
        self._first = first
        self._rest = rest
        self._owned = owned

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first is not None:
            yield self._first
            async for frame in self._rest:
                yield frame

    async def aclose(self) -> None:
        """Stop generating, then give the adapter back; twice is a no-op."""
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
        metrics: Metrics,
        tracing: Tracing,
        *,
        usage: Usage,
        canaries: Canaries,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._engine = engine
        self._resolver = resolver
        self._residency = residency
        self._metrics = metrics
        self._tracing = tracing
        self._usage = usage
        self._canaries = canaries
        self._new_id = new_id

    async def respond(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        ids: dict[str, str] | None = None,
        asker: Asker | None = None,
    ) -> Document | Stream:
        """Answer ``body``, or return a stream whose first event is there.

        ``ids`` find the request in logs and traces; ``asker`` is who keeps to one target of a
        sticky alias.

        Raises:
            AdapterError: the model cannot be resolved or made resident.
            EngineError: the engine refused or failed.
        """
        resolved = await self._resolver.resolve(endpoint, body, asker)
        asked, revision = resolved.asked, resolved.revision
        if revision is not None:
            self._usage.count(revision.adapter)
        watch = self._canaries.watch(resolved, endpoint, body)
        async with AsyncExitStack() as stack:
            stack.callback(lambda: watch.ended(seen))  # the last to run: seen is final then
            name = revision.adapter if revision else self._engine.model.id
            seen = stack.enter_context(self._metrics.request(endpoint, name, ids))
            span = stack.enter_context(self._tracing.generation(endpoint, asked, body))
            stack.callback(lambda: span.ended(seen))
            span.answered_by(revision.header if revision else name)
            with span.current():
                lease = await self._lease(endpoint, revision, stack)
            served = Served(asked, revision, seen, _waited_s(resolved, lease))
            model = lease.engine_name if lease else self._engine.model.id
            asking, hide_usage = with_usage(endpoint, body)
            call = Call(endpoint, {**asking, "model": model}, self._new_id(), span.headers())
            found = await self._ask(call, seen)
            if isinstance(found, Answer):
                watch.document(found.body)
                return _to_document(served, found)
            # Closed before the lease ends: a slot must not change under a running request.
            await stack.enter_async_context(aclosing(found))
            found = await stack.enter_async_context(aclosing(watch.stream(found)))
            watched = counted(found, endpoint, seen, hide_usage=hide_usage)
            return await self._begin(served, watched, stack)
        raise AssertionError("an exit stack swallowed an exception")  # pragma: no cover

    async def _ask(self, call: Call, seen: Observation) -> Answer | Frames:
        try:
            return await self._engine.respond(call)
        except RequestRejected:
            seen.rejected()
            raise

    async def _begin(self, served: Served, watched: Frames, stack: AsyncExitStack) -> Stream:
        await stack.enter_async_context(aclosing(watched))
        # The first event is awaited here, while an error can still choose the status code.
        first = await anext(watched, None)
        return Stream(served, first, watched, stack.pop_all())

    async def _lease(
        self, endpoint: Endpoint, revision: Revision | None, stack: AsyncExitStack
    ) -> Lease | None:
        if revision is None or endpoint in NO_WEIGHTS:
            return None
        with self._tracing.lease():
            return await stack.enter_async_context(self._residency.lease(revision))


def _waited_s(resolved: Resolved, lease: Lease | None) -> float | None:
    waits = (resolved.pulled_s, lease.cold_start_s if lease else None)
    known = [seconds for seconds in waits if seconds is not None]
    return sum(known) if known else None


def _to_document(served: Served, answer: Answer) -> Document:
    if (usage := usage_of(answer.body)) is not None:
        served.seen.used(*usage)
    served.seen.completed()
    return Document(served, answer.body)
