"""The endpoints that generate or count tokens, without state.

Each reads the body, calls the service and answers in the official shape.
"""

from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from veneer_server.api.deps import (
    STREAMED,
    BodyDep,
    Server,
    ServerDep,
    asker_of,
    needs,
    with_body,
)
from veneer_server.api.noting.answering import note
from veneer_server.api.official.answers.conversions import to_document, to_events
from veneer_server.api.official.bodies import in_the_clients_words, name_as_written, prepare
from veneer_server.api.official.members.schemas import body_of
from veneer_server.api.official.members.tables import TABLES
from veneer_server.api.streams import ClientGone, EventStream, run_until_gone
from veneer_server.engine.base import Endpoint
from veneer_server.serving.requests import Document, Served
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])

PATHS = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/completions": Endpoint.COMPLETIONS,
    "/v1/messages": Endpoint.MESSAGES,
    "/v1/messages/count_tokens": Endpoint.COUNT_TOKENS,
    "/tokenize": Endpoint.TOKENIZE,
    "/detokenize": Endpoint.DETOKENIZE,
}


async def generate(request: Request, body: BodyDep, server: ServerDep) -> Response:
    """Answer with the base model or with the adapter that ``model`` names."""
    endpoint = PATHS[request.url.path]
    if isinstance(model := body.get("model"), str):
        request.state.model = model
    asked = prepare(endpoint, body)
    work = server.requests.respond(endpoint, asked, request.state.ids, asker_of(request, body))
    try:
        with in_the_clients_words(endpoint, body):
            found = await run_until_gone(work, request.receive, server.deadline)
    except ClientGone:
        return Response(status_code=499)
    return _answer(request, endpoint, body, found, server)


def _answer(
    request: Request, endpoint: Endpoint, body: dict[str, Any], found: Any, server: Server
) -> Response:
    served: Served = found.served
    headers = note(request, served)
    if isinstance(found, Document):
        document = to_document(endpoint, found.body, served.asked, body)
        return Response(orjson.dumps(document), headers=headers, media_type="application/json")
    convert = to_events(endpoint, model=served.asked, asked=body)
    name_error = partial(name_as_written, endpoint, body)
    return EventStream(found, convert, server.deadline, headers, name_error, found.divert)


for _path, _endpoint in PATHS.items():
    router.add_api_route(
        _path,
        generate,
        methods=["POST"],
        response_model=None,
        responses=STREAMED if "stream" in TABLES[_endpoint] else None,
        openapi_extra=with_body(body_of(_endpoint)),
    )
