"""What routes ask for: the server's state, a checked key, a JSON object."""

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request

from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.replays import Answers
from veneer_adapters.publishing.checkup import Checkup
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.staging import Staging
from veneer_adapters.residency.residency import Residency
from veneer_server.api.errors import BodyTooLarge, InvalidJson, NotAnObject, Unauthorized
from veneer_server.engine.base import Engine
from veneer_server.serving.requests import RequestService
from veneer_server.settings import Settings
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that lives as long as the server; built in ``veneer_server.app``."""

    settings: Settings
    engine: Engine
    catalog: Catalog
    answers: Answers
    staging: Staging
    publishing: Publishing
    checkup: Checkup
    residency: Residency
    requests: RequestService
    guarding: Guarding
    metrics: Metrics
    tracing: Tracing
    started_s: int
    """When the server started, in seconds since the epoch."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server was told to stop: no longer ready."""
    deadline: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when running requests may take no longer."""


def _state(request: Request) -> State:
    state: State = request.app.state.veneer
    return state


StateDep = Annotated[State, Depends(_state)]


def require_key(request: Request, state: StateDep) -> None:
    """Let only the configured key pass; without one, everybody on this machine may.

    Raises:
        Unauthorized: the same for a missing and for a wrong key.
    """
    expected = state.settings.server.api_key
    if expected is None:
        return
    given = presented_key(request)
    if not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
        raise Unauthorized("Incorrect API key provided.")


def presented_key(request: Request) -> str:
    """Return the key a client presents, right or wrong, or an empty text."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    return given.strip()


async def read_object(request: Request, state: StateDep) -> dict[str, Any]:
    """Return the body, a JSON object no larger than the limit.

    Raises:
        BodyTooLarge: before the excess is buffered.
        InvalidJson: not JSON (UTF-8, no NaN), or nested too deeply.
        NotAnObject: JSON of another kind.
    """
    raw = await _read_bounded(request, state.settings.limits.max_body_bytes)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(body, dict):
        raise NotAnObject("The JSON body of your request must be an object.")
    return body


async def _read_bounded(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    return bytes(raw)


BodyDep = Annotated[dict[str, Any], Depends(read_object)]
