"""Responses that are kept: retrieved, listed, deleted, cancelled, and streamed again."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from veneer_server.api.conversations.recording import Followed
from veneer_server.api.deps import ServerDep, needs
from veneer_server.api.noting.answering import owner_of
from veneer_server.api.streams import EventStream
from veneer_server.conversations.errors import NotKept
from veneer_server.conversations.records import Page
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])

LimitDep = Annotated[int, Query(ge=1, le=100)]
OrderDep = Literal["asc", "desc"]


@router.get("/v1/responses/{response_id}", response_model=None)
async def retrieve(
    request: Request,
    response_id: str,
    server: ServerDep,
    stream: bool = False,
    starting_after: int = -1,
) -> Response:
    """Return the response, or its events after number ``starting_after``."""
    owner = owner_of(request)
    if stream:
        events = await server.kept.responses.events(owner, response_id, max(starting_after, -1))
        return EventStream(Followed(events), lambda event: event, server.deadline, {})
    return JSONResponse((await server.kept.responses.find(owner, response_id)).document)


@router.post("/v1/responses/compact")
async def compact() -> None:
    """Answer 404: without this route it would be a response that takes no POST."""
    raise NotKept("This server does not compact responses.")


@router.delete("/v1/responses/{response_id}")
async def delete(request: Request, response_id: str, server: ServerDep) -> dict[str, Any]:
    """Remove the response; one that is being generated is cancelled."""
    await server.kept.responses.delete(owner_of(request), response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/v1/responses/{response_id}/cancel", response_model=None)
async def cancel(request: Request, response_id: str, server: ServerDep) -> JSONResponse:
    """Cancel a response in the background, and return it; one that has ended stays as it is."""
    return JSONResponse(await server.kept.responses.cancel(owner_of(request), response_id))


@router.get("/v1/responses/{response_id}/input_items", response_model=None)
async def list_input_items(
    request: Request,
    response_id: str,
    server: ServerDep,
    limit: LimitDep = 20,
    order: OrderDep = "desc",
    after: str | None = None,
) -> JSONResponse:
    """Return a page of the items that the response answers."""
    newest = order == "desc"
    page = await server.kept.responses.input_items(
        owner_of(request), response_id, after=after, limit=limit, newest=newest
    )
    return JSONResponse(to_list(page))


def to_list(page: Page) -> dict[str, Any]:
    """Return ``page`` in OpenAI's shape; the schema has no null for the ids of an empty one."""
    ids = [item["id"] for item in page.items] or [""]
    return {
        "object": "list",
        "data": page.items,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": page.more,
    }
