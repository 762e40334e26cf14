"""``POST /v1/responses`` and the count of its input tokens.

An engine gets a plain request: with all items that came before it, and nothing about state.
"""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from veneer_server.api.conversations.recording import Followed, Recorded, steps
from veneer_server.api.deps import (
    STREAMED,
    BodyDep,
    Server,
    ServerDep,
    asker_of,
    needs,
    with_body,
)
from veneer_server.api.noting.answering import note, owner_of
from veneer_server.api.official.answers.conversions import to_document
from veneer_server.api.official.answers.responses import to_unanswered
from veneer_server.api.official.bodies import in_the_clients_words, name_as_written, prepare
from veneer_server.api.official.members.schemas import body_of
from veneer_server.api.streams import ClientGone, EventStream, run_until_gone
from veneer_server.conversations.turns import Turn
from veneer_server.engine.base import Endpoint
from veneer_server.serving.requests import Document
from veneer_server.serving.resolving import Asker
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])


_BODY = with_body(body_of(Endpoint.RESPONSES))


@router.post("/v1/responses", response_model=None, responses=STREAMED, openapi_extra=_BODY)
async def create(request: Request, body: BodyDep, server: ServerDep) -> Response:
    """Answer one turn with the base model or with the adapter that ``model`` names."""
    _note_model(request, body)
    turn = await server.kept.turns.begin(owner_of(request), body)
    plain = prepare(Endpoint.RESPONSES, turn.body(body))
    plain = {**plain, "store": False, "request_id": turn.id}
    asker = asker_of(request, body)
    asked = {**body, **turn.shown()}
    if turn.asked.background:
        return await _begin(request, server, turn, (plain, asked, asker))
    work = server.requests.respond(Endpoint.RESPONSES, plain, request.state.ids, asker)
    try:
        with in_the_clients_words(Endpoint.RESPONSES, body):
            found = await run_until_gone(work, request.receive, server.deadline)
    except ClientGone:
        return Response(status_code=499)
    headers = note(request, found.served)
    if isinstance(found, Document):
        document = to_document(Endpoint.RESPONSES, found.body, found.served.asked, asked)
        document = await server.kept.turns.finish(turn, document)
        return Response(orjson.dumps(document), headers=headers, media_type="application/json")
    recorded = Recorded(found, asked, lambda response: server.kept.turns.finish(turn, response))
    name_error = partial(name_as_written, Endpoint.RESPONSES, body)
    return EventStream(recorded, _as_it_is, server.deadline, headers, name_error)


async def _begin(
    request: Request,
    server: Server,
    turn: Turn,
    asking: tuple[Mapping[str, Any], dict[str, Any], Asker],
) -> Response:
    plain, asked, asker = asking
    # What is wrong with the request is said now: nobody waits for it when it is generated.
    with in_the_clients_words(Endpoint.RESPONSES, asked):
        ids = dict(request.state.ids)
        tried = await server.requests.respond(Endpoint.INPUT_TOKENS, plain, ids, asker)
    model = tried.served.asked
    queued = to_unanswered(asked, model, turn.id, status="queued", now=time.time())
    async with AsyncExitStack() as stack:
        # A limit that is reached refuses the request now, too. So what it may use is held from now.
        held = await stack.enter_async_context(
            server.requests.hold(Endpoint.RESPONSES, plain, asker)
        )
        respond = partial(server.requests.respond, Endpoint.RESPONSES, plain, ids, asker, held)
        run = await server.kept.runs.start(
            turn,
            queued,
            lambda: steps(respond, asked, queued),
            stack,
            streams=plain.get("stream") is True,
        )
    headers = dict(held.headers)
    if run.log is None:
        return Response(orjson.dumps(queued), headers=headers, media_type="application/json")
    return EventStream(Followed(run.log.read(-1)), _as_it_is, server.deadline, headers)


@router.post("/v1/responses/input_tokens", response_model=None, openapi_extra=_BODY)
async def count_input_tokens(request: Request, body: BodyDep, server: ServerDep) -> Response:
    """Say how many tokens the prompt of such a request has, with all items before it."""
    _note_model(request, body)
    whole = await server.kept.turns.items(owner_of(request), body)
    plain = {"model": server.engine.model.id, **prepare(Endpoint.RESPONSES, whole), "store": False}
    asker = asker_of(request, body)
    with in_the_clients_words(Endpoint.RESPONSES, body):
        found = await server.requests.respond(
            Endpoint.INPUT_TOKENS, plain, request.state.ids, asker
        )
    assert isinstance(found, Document)  # noqa: S101
    headers = note(request, found.served)
    return Response(orjson.dumps(found.body), headers=headers, media_type="application/json")


def _note_model(request: Request, body: Mapping[str, Any]) -> None:
    if isinstance(model := body.get("model"), str):
        request.state.model = model


def _as_it_is(frames: bytes) -> bytes:
    return frames
