"""The route that asks several models the same, and answers with all of their answers."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from veneer_server.api.compare.asking import MOST_MODELS, answer
from veneer_server.api.deps import STREAMED, BodyDep, ServerDep, needs, with_body
from veneer_server.api.official.members.schemas import body_of
from veneer_server.engine.base import Endpoint
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])


def _schema() -> dict[str, Any]:
    chat = body_of(Endpoint.CHAT)
    members = {name: found for name, found in chat["properties"].items() if name != "model"}
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_MODELS}
    return {**chat, "required": ["models", "messages"], "properties": {"models": names, **members}}


@router.post(
    "/v1/veneer/compare",
    response_model=None,
    responses=STREAMED,
    openapi_extra=with_body(_schema()),
)
async def compare(request: Request, body: BodyDep, server: ServerDep) -> Response:
    """Ask each of ``models`` the same chat request; stream all answers, then one report."""
    return await answer(request, body, server)
