"""Everything that the server records of a request: metrics, spans, usage, and its canary's trial.

Each request gets one ``Watch``. When its block ends, the request is counted and its spans are
closed, whatever happened inside.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from veneer_adapters.catalog.usage import Usage
from veneer_server.accounting.ledger import Ledger
from veneer_server.accounting.records import UsageRecord
from veneer_server.engine.base import Endpoint, Frames, Outlet, RequestRejected, Take
from veneer_server.serving.canaries.trials import Canaries, Trial
from veneer_server.serving.resolving import Resolved
from veneer_server.serving.tokens import is_usage_only, token_test, usage_of, usage_of_frame
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.observation import Observation
from veneer_server.telemetry.tracing import GenerationSpan, Tracing
from veneer_server.tenancy.principals import Principal


class Watch:
    """One request, watched until the block of ``Watching.request`` ends."""

    def __init__(
        self, endpoint: Endpoint, seen: Observation, span: GenerationSpan, trial: Trial
    ) -> None:
        self.seen = seen
        """The counts of the request; they are complete when the answer is complete."""
        self._endpoint = endpoint
        self._span = span
        self._trial = trial

    def current(self) -> AbstractContextManager[None]:
        """Make the request's span the parent of all spans in the block.

        The block must begin and end in the same task.
        """
        return self._span.current()

    def headers(self) -> dict[str, str]:
        """Return the headers that make the engine's spans children of this request's span."""
        return self._span.headers()

    def waited(self, fetch_s: float | None, load_s: float | None) -> None:
        """Record the waits of a cold start, right before the engine gets the request."""
        self.seen.asked(fetch_s=fetch_s or 0.0, load_s=load_s or 0.0)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Record it when the engine refuses the request in the block."""
        try:
            yield
        except RequestRejected:
            self.seen.rejected()
            raise

    def document(self, body: Mapping[str, Any]) -> None:
        """Record a whole answer, and that it is complete."""
        self._trial.document(body)
        if (usage := usage_of(body)) is not None:
            self.seen.used(*usage)
        self.seen.completed()

    def divert(self, outlet: Outlet, take: Take | None) -> None:
        """Let ``take`` have the events of ``outlet``, and record each; None closes the outlet."""
        if take is None:
            outlet.close()
            return

        def watched(frame: bytes) -> bool:
            if not take(frame):
                return False
            self._trial.frame(frame)
            self.seen.token()
            return True

        outlet.open(watched)

    async def frames(self, frames: Frames, *, hide_usage: bool) -> Frames:
        """Yield ``frames`` again; record the tokens, the usage and the end.

        With ``hide_usage`` an event with nothing but the usage is left out.
        """
        # The loop runs once per token, so it does little: two searches and a count.
        carries_tokens, seen, trial = token_test(self._endpoint), self.seen, self._trial
        try:
            async for frame in frames:
                trial.frame(frame)
                if carries_tokens(frame):
                    seen.token()
                if (usage := usage_of_frame(frame)) is not None:
                    seen.used(*usage)
                    if hide_usage and is_usage_only(frame):
                        continue
                yield frame
        except (asyncio.CancelledError, GeneratorExit):
            seen.cancelled()
            raise
        except RequestRejected:
            seen.rejected()
            raise
        seen.completed()


class Watching:
    """Opens a ``Watch`` for each request."""

    def __init__(
        self,
        base: str,
        metrics: Metrics,
        tracing: Tracing,
        usage: Usage,
        canaries: Canaries,
        ledger: Ledger,
    ) -> None:
        """Watch requests for the base model called ``base`` and for adapters."""
        self._ledger = ledger
        self._base = base
        self._metrics = metrics
        self._tracing = tracing
        self._usage = usage
        self._canaries = canaries

    @contextmanager
    def request(
        self,
        resolved: Resolved,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        ids: dict[str, str] | None,
        who: Principal,
    ) -> Iterator[Watch]:
        """Watch one request of ``who`` until the block ends; ``ids`` identify it in logs."""
        revision = resolved.revision
        name = revision.adapter if revision else self._base
        if revision is not None:
            self._usage.count(name)
        trial = self._canaries.trial(resolved, endpoint, body)
        seen: Observation | None = None
        try:
            with (
                self._metrics.request(endpoint, name, ids) as seen,
                self._tracing.generation(endpoint, resolved.asked, body) as span,
            ):
                span.answered_by(revision.label if revision else name)
                try:
                    yield Watch(endpoint, seen, span, trial)
                finally:
                    span.ended(seen)
        finally:
            if seen is not None:  # its outcome is final only after the metrics' block
                trial.ended(seen)
                self._metrics.served(who.tenant, seen)
                self._note(seen, endpoint, name, resolved, who)

    def _note(
        self, seen: Observation, endpoint: str, name: str, resolved: Resolved, who: Principal
    ) -> None:
        revision = resolved.revision
        self._ledger.note(
            UsageRecord(
                time=self._ledger.now,
                tenant=who.tenant,
                key=who.key_id,
                endpoint=endpoint,
                adapter=name,
                revision=revision.number if revision else None,
                fallback_for=resolved.instead_of,
                outcome=seen.outcome,
                input_tokens=seen.input_tokens,
                cached_tokens=seen.cached_tokens,
                output_tokens=seen.output_tokens,
                queue_s=seen.queue_s,
                cold_start_s=seen.cold_start_s,
                total_s=seen.elapsed_s(),
            )
        )

    def lease(self) -> AbstractContextManager[None]:
        """Make the span of the wait for a lease; it is the current span in the block."""
        return self._tracing.lease()
