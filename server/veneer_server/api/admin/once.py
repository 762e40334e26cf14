"""The header ``Idempotency-Key``: a POST that the client sends twice acts once."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from veneer_adapters.catalog.replays import Replay
from veneer_server.api.deps import Server
from veneer_server.api.errors import InvalidRequest, KeyReused, OutcomeUnknown

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def once(
    request: Request, server: Server, body: dict[str, Any], act: Callable[[], Awaitable[Response]]
) -> Response:
    """Return the answer of ``act``, or its earlier answer to the same key and request.

    Without the header, ``act`` runs every time. Only an answer is remembered: when ``act``
    raises, the key is free again and a repeated request acts anew.

    Raises:
        InvalidRequest: the key is empty, too long, or has other characters than visible ASCII.
        KeyReused: the key was sent with another request.
        OutcomeUnknown: a server died after it began to act, or another server is acting now.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await act()
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            "The header Idempotency-Key must have 1 to 255 visible ASCII characters.",
            param="Idempotency-Key",
        )
    asked = f"{request.method} {request.url.path}\n".encode() + orjson.dumps(body)
    digest = hashlib.sha256(asked).hexdigest()
    key = _of_owner(request.state.principal.owner, key)
    async with server.replays.turn(key):
        known = await server.replays.begin(key, digest)
        if known is not None:
            return _again(known, digest)
        try:
            response = await act()
        except Exception:
            await server.replays.forget(key)
            raise
        await server.replays.finish(key, _to_outcome(response))
        return response


def _of_owner(owner: str, key: str) -> str:
    """Return ``key`` as it is kept: two owners may use the same, and learn nothing by it."""
    return hashlib.sha256(f"{owner} {key}".encode()).hexdigest() if owner else key


def _to_outcome(response: Response) -> str:
    return f"{response.status_code} {bytes(response.body).decode()}"


def _again(found: Replay, digest: str) -> Response:
    if found.request != digest:
        raise KeyReused("Another request used this Idempotency-Key; send a new key.")
    if found.outcome is None:
        raise OutcomeUnknown(
            "A request with this Idempotency-Key began and has no answer; look whether it took"
            " effect, then send a new key."
        )
    status, _, body = found.outcome.partition(" ")
    headers = {"idempotent-replayed": "true"}
    return Response(body, int(status), headers, media_type="application/json")
