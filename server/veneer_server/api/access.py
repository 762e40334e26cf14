"""One request id and one log line for each request, and the count of errors.

This file decides nothing about a request.
"""

import re
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any
from uuid import uuid4

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veneer_server.api.errors import answer, is_anthropic
from veneer_server.api.http.crowd import PROBES
from veneer_server.telemetry.observation import Observation
from veneer_server.telemetry.tracing import Tracing

logger = structlog.get_logger(__name__)

EXPOSED = (
    "openai-processing-ms",
    "request-id",
    "retry-after",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-veneer-adapter",
    "x-veneer-cold-start-ms",
    "x-veneer-compressed",
    "x-veneer-fallback",
)
"""The headers of answers that a page of another origin may read, where any may call at all."""
_FIELDS = ("tenant", "key", "model", "adapter", "code", "why")
_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class AccessLog:
    """Middleware that logs every request. It is pure ASGI, so it never buffers a stream."""

    def __init__(
        self, app: ASGIApp, refused: Callable[[str, str | None], None], tracing: Tracing
    ) -> None:
        """Log the requests of ``app``; ``refused`` gets the code and tenant of each error."""
        self._app = app
        self._refused = refused
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with an id, and write its line when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        line = _Line(scope)
        with self._tracing.http(line.method, _headers(scope), probe=line.is_probe) as span:
            line.ids.update(span.ids())
            try:
                await self._app(scope, receive, line.watch(send))
            finally:
                span.answered(line.status, line.route(), line.code())
                line.write()
                self._count(line)

    def _count(self, line: "_Line") -> None:
        code = line.code()
        if code is not None and line.status >= 400 and not line.is_probe:
            self._refused(code, line.tenant())


class Refusals:
    """Answers the requests that ``connections`` refuses, and passes all others on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the fault in the scope's state, if there is one."""
        fault = scope.get("state", {}).get("refusal")
        if fault is None:
            await self._app(scope, receive, send)
            return
        response = await answer(Request(scope), fault)
        await response(scope, receive, send)


class _Line:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._began = time.monotonic()
        self.method: str = scope["method"]
        self.is_probe = scope["path"] in PROBES
        self.status = 0
        self._state: MutableMapping[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = self._id = _request_id(scope)
        self._state["ids"] = self.ids = {"request_id": self._id}

    def route(self) -> str | None:
        """Return the router's pattern for the path, None when no route matched."""
        return getattr(self._scope.get("route"), "path", None)

    def code(self) -> str | None:
        """Return the code of the error that ended the request, None without an error."""
        code: str | None = self._state.get("code")
        return code

    def tenant(self) -> str | None:
        """Return the tenant whose key it has, None without one."""
        tenant: str | None = self._state.get("tenant")
        return tenant

    def watch(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers()]
            await send(message)

        return watched

    def _headers(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"x-request-id", self._id.encode()
        yield b"openai-processing-ms", str(self._elapsed_ms()).encode()
        if is_anthropic(self._scope):
            yield b"request-id", self._id.encode()  # the only name that Anthropic's clients know

    def write(self) -> None:
        known = logger.warning if "why" in self._state else logger.info
        log = logger.debug if self.is_probe else known
        fields = {key: _short(self._state[key]) for key in _FIELDS if key in self._state}
        log(
            "request",
            method=self.method,
            path=_short(self._scope["path"]),
            status=self.status,
            duration_ms=self._elapsed_ms(),
            request_id=self._id,
            **fields,
            **_noted(self._state.get("seen")),
        )

    def _elapsed_ms(self) -> int:
        return int((time.monotonic() - self._began) * 1000)


def _short(value: object) -> object:
    """Return ``value``; a text that a client wrote is cut to 200 characters."""
    return value[:200] if isinstance(value, str) else value


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers that may name a trace to continue."""
    wanted = (b"traceparent", b"tracestate", b"baggage", b"b3")
    return {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in wanted}


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SAFE_ID.fullmatch(value):
            return str(value.decode())
    return f"req_{uuid4().hex}"


def _noted(seen: Observation | None) -> dict[str, Any]:
    """Return the log fields of a request that the engine answered; {} for any other."""
    if seen is None:
        return {}
    fields: dict[str, Any] = {
        "outcome": seen.outcome,
        "input_tokens": seen.input_tokens,
        "output_tokens": seen.output_tokens,
    }
    if seen.ttft_s is not None:
        fields["ttft_ms"] = round(seen.ttft_s * 1000, 1)
    return fields
