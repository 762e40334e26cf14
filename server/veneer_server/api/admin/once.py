"""``Idempotency-Key``: a POST that is sent twice acts once."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from veneer_adapters.catalog.replays import Answered
from veneer_server.api.deps import State
from veneer_server.api.errors import KeyReused, OutcomeUnknown
from veneer_server.engine.base import RequestRejected

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def once(
    request: Request, state: State, body: dict[str, Any], act: Callable[[], Awaitable[Response]]
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
        raise RequestRejected("must be 1 to 255 visible characters", param="Idempotency-Key")
    asked = f"{request.method} {request.url.path}\n".encode() + orjson.dumps(body)
    digest = hashlib.sha256(asked).hexdigest()
    async with state.answers.turn(key):
        known = await state.answers.begin(key, digest)
        if known is not None:
            return _again(known, digest)
        try:
            response = await act()
        except Exception:
            await state.answers.forget(key)
            raise
        await state.answers.finish(key, response.status_code, bytes(response.body).decode())
        return response


def _again(found: Answered, digest: str) -> Response:
    if found.request != digest:
        raise KeyReused("This Idempotency-Key was used with another request.")
    if not found.is_known:
        raise OutcomeUnknown(
            "A request with this Idempotency-Key was begun and not answered; look what became"
            " of it, and use another key."
        )
    headers = {"idempotent-replayed": "true"}
    return Response(found.body, found.status, headers, media_type="application/json")
