"""Several models that are asked the same, by a client of the API or in the console."""

from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from veneer_server.api.compare.variants import Variants
from veneer_server.api.deps import Server, asker_of
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.official.bodies import in_the_clients_words, name_as_written, prepare
from veneer_server.api.streams import ClientGone, EventStream, run_until_gone
from veneer_server.engine.base import Endpoint
from veneer_server.serving.comparing import Comparison

MOST_MODELS = 16
"""Most models that one request may compare; a name may stand there twice."""


async def answer(request: Request, body: dict[str, Any], server: Server) -> Response:
    """Ask each of ``models`` the same chat request; stream all answers, then one report.

    Raises:
        InvalidRequest: ``models`` is no list of names, or a field cannot be compared.
        Exception: no variant answers; it is the error of the first one that failed.
    """
    bodies = to_bodies(body)
    request.state.model = ", ".join(each["model"] for each in bodies)
    comparison = Comparison(server.requests, bodies, request.state.ids, asker_of(request, body))
    variants = Variants(comparison, bodies, partial(name_as_written, Endpoint.CHAT, body))
    try:
        with in_the_clients_words(Endpoint.CHAT, body):
            await run_until_gone(comparison.begin(), request.receive, server.deadline)
        if bodies[0]["stream"]:
            return EventStream(variants, bytes, server.deadline, {})
        async with aclosing(variants):
            await run_until_gone(variants.read(), request.receive, server.deadline)
    except ClientGone:
        return Response(status_code=499)
    return Response(orjson.dumps(variants.report()), media_type="application/json")


def to_bodies(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a chat body for each of ``models``; all else in them is what the client wrote.

    Raises:
        InvalidRequest: ``models`` is no list of names, or a field cannot be compared.
    """
    models, rest = body.get("models"), {k: v for k, v in body.items() if k != "models"}
    if not isinstance(models, list) or not all(isinstance(m, str) and m for m in models):
        raise InvalidRequest(
            "'models' must be a list of model names: those that GET /v1/models lists.",
            param="models",
        )
    if not 1 <= len(models) <= MOST_MODELS:
        raise InvalidRequest(
            f"'models' must have 1 to {MOST_MODELS} names, but has {len(models)}.", param="models"
        )
    if "model" in rest:
        raise InvalidRequest("Leave 'model' out; 'models' names them all.", param="model")
    if rest.get("n") not in (None, 1):
        raise InvalidRequest(
            "'n' must be 1: name a model several times to get several answers.", param="n"
        )
    return [_to_body(rest, model) for model in models]


def _to_body(rest: Mapping[str, Any], model: str) -> dict[str, Any]:
    stream = rest.get("stream")
    asked = {**rest, "model": model, "stream": True if stream is None else stream}
    if asked["stream"]:
        asked["stream_options"] = {"include_usage": True}
    return dict(prepare(Endpoint.CHAT, asked))
