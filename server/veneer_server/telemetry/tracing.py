"""OpenTelemetry spans of one request, made only when ``OTEL_*`` asks for them.

    POST /v1/chat/completions        one trace, the client's own if it sent ``traceparent``
    └── chat pirate                  until the last token, with GenAI attributes
        ├── adapter lease            until the adapter is in a device slot
        │   └── adapter load         one span per stage, in the trace of the first who asked
        └── llm_request              vLLM's own span

Names and attributes follow OpenTelemetry's conventions for HTTP servers and for generative AI.
They never hold what a user wrote or what the model answered.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from veneer_adapters.events import AdapterEvent, StageFinished
from veneer_server import __version__
from veneer_server.telemetry.observation import Observation

_OPERATIONS = {
    "chat": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
}
"""The conventions' name for each endpoint that generates; other endpoints keep their own name."""
_REQUESTED = ("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty")
_NS = 1_000_000_000


class Tracing:
    """Makes the spans of one server; without a provider no span is made."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self.on = provider is not None
        maker = provider or trace.NoOpTracerProvider()
        self._tracer: Tracer = maker.get_tracer("veneer", __version__)

    @contextmanager
    def http(
        self, method: str, headers: Mapping[str, str], *, probe: bool = False
    ) -> Iterator["HttpSpan"]:
        """Make the span of an HTTP request, unless it is a ``probe``.

        It is the current span in the block.
        """
        if probe or not self.on:
            yield HttpSpan(trace.INVALID_SPAN)
            return
        span = self._tracer.start_span(
            method,
            context=propagate.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        )
        with _within(span, end=True):
            yield HttpSpan(span, method)

    @contextmanager
    def generation(
        self, endpoint: str, asked: str, body: Mapping[str, Any]
    ) -> Iterator["GenerationSpan"]:
        """Make the span of one answer, which ends with the block.

        The block may end in another task than it began in.
        """
        if not self.on:
            yield GenerationSpan(trace.INVALID_SPAN)
            return
        operation = _OPERATIONS.get(endpoint, str(endpoint))
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "veneer",
            "gen_ai.request.model": asked[:200],
        }
        for name in _REQUESTED:
            if isinstance(body.get(name), int | float):
                attributes[f"gen_ai.request.{name}"] = body[name]
        span = self._tracer.start_span(f"{operation} {asked[:200]}", attributes=attributes)
        try:
            yield GenerationSpan(span)
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Make the span of the wait for a lease; it is the current span in the block."""
        if not self.on:
            yield
            return
        span = self._tracer.start_span("adapter lease")
        with _within(span, end=True):
            try:
                yield
            except BaseException as error:
                _fail(span, type(error).__name__)
                raise

    def on_event(self, event: AdapterEvent) -> None:
        """Make a span of a finished stage; see ``veneer_adapters.events.Observer``."""
        if self.on and isinstance(event, StageFinished):
            now = time.time_ns()
            attributes = {"veneer.adapter": event.adapter}
            begun = now - int(event.seconds * _NS)
            span = self._tracer.start_span(
                f"adapter {event.stage}", start_time=begun, attributes=attributes
            )
            span.end(now)


class HttpSpan:
    """The span of an HTTP request."""

    def __init__(self, span: Span, method: str = "") -> None:
        self._span = span
        self._method = method

    def ids(self) -> dict[str, str]:
        """Return the id of the trace under the name for exemplars; {} without a trace."""
        context = self._span.get_span_context()
        return {"trace_id": trace.format_trace_id(context.trace_id)} if context.is_valid else {}

    def answered(self, status: int, route: str | None, code: str | None) -> None:
        """Record the status, the router's pattern of the path, and the error's code."""
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if code is not None:
            self._span.set_attribute("error.type", code)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


class GenerationSpan:
    """The span of one answer."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this span the parent of all spans in the block.

        The block must begin and end in the same task.
        """
        if not self._span.is_recording():
            yield
            return
        with _within(self._span, end=False):
            yield

    def answered_by(self, model: str) -> None:
        """Record which revision answers, or that the base does."""
        self._span.set_attribute("gen_ai.response.model", model)

    def headers(self) -> dict[str, str]:
        """Return the headers that make the engine's spans children of this span."""
        carrier: dict[str, str] = {}
        if self._span.get_span_context().is_valid:
            propagate.inject(carrier, context=trace.set_span_in_context(self._span))
        return carrier

    def ended(self, seen: Observation) -> None:
        """Record the counts and the outcome."""
        self._span.set_attribute("gen_ai.usage.input_tokens", seen.input_tokens)
        self._span.set_attribute("gen_ai.usage.output_tokens", seen.output_tokens)
        if seen.ttft_s is not None:
            self._span.set_attribute("gen_ai.server.time_to_first_token", seen.ttft_s)
        if seen.outcome != "completed":
            _fail(self._span, seen.outcome)


def _within(span: Span, *, end: bool) -> AbstractContextManager[Span]:
    """Make ``span`` current. An exception's message may quote a user, so it is not recorded."""
    return trace.use_span(
        span, end_on_exit=end, record_exception=False, set_status_on_exception=False
    )


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def current_ids() -> dict[str, str]:
    """Return the ids of the current span under their names for logs; {} without a span."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
