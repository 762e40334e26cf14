"""The dependencies of routes: the server, a checked key, and a body that is a JSON object."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request

from veneer_adapters.adapters import Adapters
from veneer_adapters.catalog.replays import Replays
from veneer_server.api.apart import Apart
from veneer_server.api.errors import BodyTooLarge, Unauthorized
from veneer_server.api.parsing import parse_object
from veneer_server.background import Background
from veneer_server.conversations.keeping import Kept
from veneer_server.engine.base import Engine
from veneer_server.serving.requests import RequestService
from veneer_server.serving.resolving import Asker
from veneer_server.settings import Settings
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.tracing import Tracing


@dataclass(slots=True, kw_only=True)
class Server:
    """What routes may use while the server lives; ``veneer_server.wiring`` builds it."""

    settings: Settings
    """As they are now: SIGHUP may replace them, and nothing else here ever changes."""
    engine: Engine
    adapters: Adapters
    requests: RequestService
    replays: Replays
    kept: Kept
    background: Background
    metrics: Metrics
    tracing: Tracing
    started_s: int
    """When the server started, in seconds since the epoch."""
    state_trouble: Callable[[], str | None]
    """Return why the server's own state cannot be written, None while it can."""
    apart: Apart = field(default_factory=Apart)
    """Where large bodies are parsed."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server was told to stop; from then on it is not ready."""
    deadline: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the time for running requests is over; it ends them."""


def _server(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


ServerDep = Annotated[Server, Depends(_server)]


def require_key(request: Request, server: ServerDep) -> None:
    """Return if the request carries the configured key, or if no key is configured.

    Raises:
        Unauthorized: the key is missing or wrong; the message says which.
    """
    expected = server.settings.server.api_key
    if expected is None:
        return
    given = presented_key(request)
    if not given:
        raise Unauthorized(
            "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY' or as"
            " 'x-api-key: YOUR_KEY'."
        )
    if not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
        raise Unauthorized("Incorrect API key provided.")


def presented_key(request: Request) -> str:
    """Return the key that the client sent, right or wrong, or an empty text."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    return given.strip()


def asker_of(request: Request, body: Mapping[str, Any]) -> Asker:
    """Return who asks: the end user that ``body`` names, and a digest of the key."""
    user = body.get("user") or body.get("safety_identifier")
    key = presented_key(request)
    digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest() if key else None
    return Asker(user if isinstance(user, str) else None, digest)


_EVENTS = {"text/event-stream": {"schema": {"type": "object", "required": ["data"]}}}
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": _EVENTS}}
"""What a route adds to its description when its answer may be a stream."""


def with_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a route adds to its description for a body of ``schema``, which it reads."""
    content = {"application/json": {"schema": dict(schema)}}
    return {"requestBody": {"required": True, "content": content}}


async def read_object(request: Request, server: ServerDep) -> dict[str, Any]:
    """Return the body: a JSON object that is no larger than ``limits.max_body_bytes``.

    Raises:
        BodyTooLarge: the body is larger; the rest of it is not read.
        InvalidJson: the body is not JSON with one meaning.
        NotAnObject: the body is JSON, but not an object.
    """
    raw = await _read_bounded(request, server.settings.limits.max_body_bytes)
    return await server.apart.run(len(raw), partial(parse_object, raw))


async def _read_bounded(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"The body is larger than the limit of {limit} bytes.")
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise BodyTooLarge(f"The body is larger than the limit of {limit} bytes.")
    return bytes(raw)


BodyDep = Annotated[dict[str, Any], Depends(read_object)]
