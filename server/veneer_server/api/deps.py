"""The dependencies of routes: the server, a checked key, and a body that is a JSON object."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request

from veneer_adapters.adapters import Adapters
from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.catalog.replays import Replays
from veneer_adapters.catalog.usage import Usage
from veneer_server.accounting.ledger import Ledger
from veneer_server.api.apart import Apart
from veneer_server.api.errors import BodyTooLarge
from veneer_server.api.parsing import parse_object
from veneer_server.auditing.log import AuditLog
from veneer_server.background import Background
from veneer_server.batches.batches import Batches
from veneer_server.conversations.keeping import Kept
from veneer_server.engine.base import Engine
from veneer_server.files.files import Files
from veneer_server.serving.requests import RequestService
from veneer_server.serving.resolving import Asker
from veneer_server.serving.wishes import COLD_START_HEADER, TIMEOUT_HEADER, parse_wishes
from veneer_server.settings import Settings
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.tracing import Tracing
from veneer_server.tenancy.authenticating import identify, require
from veneer_server.tenancy.failures import Failures
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.quotas.stores import QuotaStore
from veneer_server.tenancy.scopes import Scope
from veneer_server.training.jobs.jobs import Jobs


@dataclass(slots=True, kw_only=True)
class Server:
    """What routes may use while the server lives; ``veneer_server.wiring`` builds it."""

    settings: Settings
    """As they are now: SIGHUP may replace them, and nothing else here ever changes."""
    engine: Engine
    adapters: Adapters
    requests: RequestService
    replays: Replays
    usage: Usage
    guarding: Guarding
    kept: Kept
    files: Files
    batches: Batches
    jobs: Jobs
    keyring: Keyring
    failures: Failures
    ledger: Ledger
    audit: AuditLog
    quotas: QuotaStore
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


class Needs:
    """The dependency of a route on a key with one scope; it says who asks."""

    def __init__(self, scope: Scope | None, *, once_there_are_keys: bool = False) -> None:
        """With None the route is open to everybody, and nobody is asked for a key.

        The same holds with ``once_there_are_keys`` as long as nobody made a key.
        """
        self.scope = scope
        self._once_there_are_keys = once_there_are_keys

    def __call__(self, request: Request, server: ServerDep) -> None:
        """Note in the request's state who asks, if they may.

        Raises:
            Unauthorized: the key is missing or no good; the message says which.
            RateLimited: too many wrong keys came from this address.
            ScopeMissing: the key is not for this route.
        """
        if self.scope is None or (self._once_there_are_keys and server.keyring.is_empty):
            return
        configured = server.settings.server.api_key
        api_key = configured.get_secret_value() if configured else None
        given, address = presented_key(request), request.client.host if request.client else ""
        principal = identify(given, address, api_key, server.keyring, server.failures)
        request.state.principal = principal
        if principal.key_id is not None:
            request.state.key, request.state.tenant = principal.key_id, principal.tenant
        require(principal, self.scope)


def needs(scope: Scope | None, *, once_there_are_keys: bool = False) -> Any:
    """Return what stands in a route's ``dependencies``; the arguments are those of ``Needs``."""
    return Depends(Needs(scope, once_there_are_keys=once_there_are_keys))


def presented_key(request: Request) -> str:
    """Return the key that the client sent, right or wrong, or an empty text."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    return given.strip()


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


PrincipalDep = Annotated[Principal, Depends(_principal)]


def asker_of(request: Request, body: Mapping[str, Any]) -> Asker:
    """Return who asks: the end user that ``body`` names, whose key it is, and their wishes.

    Raises:
        WishNotUnderstood: a header with a wish does not have its form.
    """
    user = body.get("user") or body.get("safety_identifier")
    wishes = parse_wishes(*(request.headers.get(n) for n in (COLD_START_HEADER, TIMEOUT_HEADER)))
    return Asker(user if isinstance(user, str) else None, _principal(request), wishes)


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
