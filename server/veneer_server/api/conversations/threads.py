"""``/v1/conversations``: made, read, changed and deleted, and their items too.

Source: https://platform.openai.com/docs/api-reference/conversations
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from veneer_server.api.conversations.stored import LimitDep, OrderDep, to_list
from veneer_server.api.deps import BodyDep, ServerDep, needs, with_body
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.noting.answering import owner_of
from veneer_server.api.official.checking import check_metadata
from veneer_server.conversations.records import Conversation, Page
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])
_ONE = "/v1/conversations/{conversation_id}"
_METADATA = {"metadata": {"type": "object", "additionalProperties": {"type": "string"}}}
_ITEMS = {"items": {"type": "array", "items": {"type": "object"}}}
_NEW = with_body({"type": "object", "properties": {**_METADATA, **_ITEMS}})
_CHANGE = with_body({"type": "object", "required": ["metadata"], "properties": _METADATA})
_MORE = with_body({"type": "object", "required": ["items"], "properties": _ITEMS})


@router.post("/v1/conversations", openapi_extra=_NEW)
async def create(request: Request, body: BodyDep, server: ServerDep) -> dict[str, Any]:
    """Make a conversation, empty or with its first items."""
    made = await server.kept.conversations.create(
        owner_of(request), _metadata(body), _items(body.get("items") or [])
    )
    return _to_resource(made)


@router.get(_ONE)
async def retrieve(request: Request, conversation_id: str, server: ServerDep) -> dict[str, Any]:
    """Return the conversation without its items."""
    return _to_resource(await server.kept.conversations.find(owner_of(request), conversation_id))


@router.post(_ONE, openapi_extra=_CHANGE)
async def update(
    request: Request, conversation_id: str, body: BodyDep, server: ServerDep
) -> dict[str, Any]:
    """Replace the metadata."""
    owner = owner_of(request)
    metadata = _metadata(body)
    return _to_resource(await server.kept.conversations.update(owner, conversation_id, metadata))


@router.delete(_ONE)
async def delete(request: Request, conversation_id: str, server: ServerDep) -> dict[str, Any]:
    """Remove the conversation and its items; responses of its turns stay."""
    await server.kept.conversations.delete(owner_of(request), conversation_id)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@router.post(_ONE + "/items", response_model=None, openapi_extra=_MORE)
async def add_items(
    request: Request, conversation_id: str, body: BodyDep, server: ServerDep
) -> JSONResponse:
    """Add items at the end, and return them."""
    items = _items(body.get("items"))
    added = await server.kept.conversations.add(owner_of(request), conversation_id, items)
    return JSONResponse(to_list(Page(added, more=False)))


@router.get(_ONE + "/items", response_model=None)
async def list_items(
    request: Request,
    conversation_id: str,
    server: ServerDep,
    limit: LimitDep = 20,
    order: OrderDep = "desc",
    after: str | None = None,
) -> JSONResponse:
    """Return a page of the items."""
    newest = order == "desc"
    page = await server.kept.conversations.page(
        owner_of(request), conversation_id, after=after, limit=limit, newest=newest
    )
    return JSONResponse(to_list(page))


@router.get(_ONE + "/items/{item_id}")
async def retrieve_item(
    request: Request, conversation_id: str, item_id: str, server: ServerDep
) -> dict[str, Any]:
    """Return one item."""
    return await server.kept.conversations.item(owner_of(request), conversation_id, item_id)


@router.delete(_ONE + "/items/{item_id}")
async def delete_item(
    request: Request, conversation_id: str, item_id: str, server: ServerDep
) -> dict[str, Any]:
    """Remove one item, and return the conversation."""
    owner = owner_of(request)
    return _to_resource(
        await server.kept.conversations.delete_item(owner, conversation_id, item_id)
    )


def _to_resource(found: Conversation) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "conversation",
        "created_at": found.created,
        "metadata": found.metadata,
    }


def _metadata(body: dict[str, Any]) -> dict[str, str]:
    found = body.get("metadata")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidRequest(
            "Invalid type for 'metadata': expected an object of strings.", param="metadata"
        )
    check_metadata(found)
    return found


def _items(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise InvalidRequest("Invalid type for 'items': expected an array.", param="items")
    return found
