"""``Idempotency-Key``: a POST that is sent twice acts once."""

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
    """Return what ``act`` answers, or what it answered before to the same key and body.

    Only what succeeded is remembered: an error is given by trying again.

    Raises:
        KeyReused: the key was sent with another request.
        OutcomeUnknown: a server died between acting and answering, or another is at it.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await act()
    if not _KEY.fullmatch(key):
        raise InvalidRequest("must be 1 to 255 visible characters", param="Idempotency-Key")
    asked = f"{request.method} {request.url.path}\n".encode() + orjson.dumps(body)
    digest = hashlib.sha256(asked).hexdigest()
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


def _to_outcome(response: Response) -> str:
    return f"{response.status_code} {bytes(response.body).decode()}"


def _again(found: Replay, digest: str) -> Response:
    if found.request != digest:
        raise KeyReused("This Idempotency-Key was used with another request.")
    if found.outcome is None:
        raise OutcomeUnknown(
            "A request with this Idempotency-Key was begun and not answered; look what became"
            " of it, and use another key."
        )
    status, _, body = found.outcome.partition(" ")
    headers = {"idempotent-replayed": "true"}
    return Response(body, int(status), headers, media_type="application/json")
