"""The audit log, the oldest entry first."""

from typing import Any

from fastapi import APIRouter, Request

from veneer_server.api.admin.pages import limit_of
from veneer_server.api.deps import ServerDep, needs
from veneer_server.api.errors import InvalidRequest
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.KEYS_ADMIN)])

_DIGITS = 18


@router.get("/v1/audit")
async def list_entries(request: Request, server: ServerDep) -> dict[str, Any]:
    """Return a page of the entries that follow the number ``after``."""
    after, limit = request.query_params.get("after", "0"), limit_of(request)
    if not after.isdecimal() or len(after) > _DIGITS:
        raise InvalidRequest("'after' must be the number of an entry.", param="after")
    found = await server.audit.page(int(after), limit + 1)
    shown = [entry.as_json() for entry in found[:limit]]
    has_more = len(found) > limit
    following = str(shown[-1]["number"]) if has_more else None
    return {"object": "list", "data": shown, "has_more": has_more, "next": following}
