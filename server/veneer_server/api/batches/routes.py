"""``/v1/batches``: made, listed, looked at and cancelled.

Source: https://platform.openai.com/docs/api-reference/batch
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from veneer_server.api.batches.bodies import to_asked
from veneer_server.api.batches.views import to_document, to_list
from veneer_server.api.deps import BodyDep, PrincipalDep, ServerDep, needs, with_body
from veneer_server.api.noting.answering import owner_of
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])
_ONE = "/v1/batches/{batch_id}"
_TEXT = {"type": "string"}
_NEW = with_body(
    {
        "type": "object",
        "required": ["input_file_id", "endpoint", "completion_window"],
        "properties": {
            "input_file_id": _TEXT,
            "endpoint": _TEXT,
            "completion_window": _TEXT,
            "metadata": {"type": "object", "additionalProperties": _TEXT},
            "output_expires_after": {
                "type": "object",
                "properties": {"anchor": _TEXT, "seconds": {"type": "integer"}},
            },
        },
    }
)


@router.post("/v1/batches", openapi_extra=_NEW)
async def create(body: BodyDep, who: PrincipalDep, server: ServerDep) -> dict[str, Any]:
    """Make a batch; its lines are looked at and answered later."""
    return to_document(await server.batches.create(who, to_asked(body)))


@router.get("/v1/batches", response_model=None)
async def list_batches(
    request: Request,
    server: ServerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> JSONResponse:
    """Return a page of the batches, the newest first."""
    page = await server.batches.page(owner_of(request), after=after, limit=limit)
    return JSONResponse(to_list(page))


@router.get(_ONE)
async def retrieve(request: Request, batch_id: str, server: ServerDep) -> dict[str, Any]:
    """Return the batch, with how far it is."""
    return to_document(await server.batches.find(owner_of(request), batch_id))


@router.post(_ONE + "/cancel")
async def cancel(request: Request, batch_id: str, server: ServerDep) -> dict[str, Any]:
    """Let the batch end soon; what was answered is kept."""
    return to_document(await server.batches.cancel(owner_of(request), batch_id))
