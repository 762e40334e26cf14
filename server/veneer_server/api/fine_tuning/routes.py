"""``/v1/fine_tuning/jobs``: made, listed, followed, paused and cancelled.

Source: https://platform.openai.com/docs/api-reference/fine-tuning
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from veneer_server.api.deps import STREAMED, BodyDep, ServerDep, needs, with_body
from veneer_server.api.fine_tuning.bodies import CreateBody, to_filter
from veneer_server.api.fine_tuning.following import FollowedEvents, is_wanted
from veneer_server.api.fine_tuning.making import make
from veneer_server.api.fine_tuning.views import (
    to_checkpoints,
    to_document,
    to_events,
    to_list,
)
from veneer_server.api.noting.answering import owner_of
from veneer_server.api.noting.auditing import audited
from veneer_server.api.streams import EventStream
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.ADAPTERS_WRITE)])
_JOBS = "/v1/fine_tuning/jobs"
_ONE = _JOBS + "/{job_id}"
_TEXT, _OBJECT = {"type": "string"}, {"type": "object"}
_NEW = with_body(
    {
        "type": "object",
        "required": ["model", "training_file"],
        "properties": {
            name: _OBJECT
            if name in ("method", "hyperparameters", "metadata", "lora", "evaluation")
            else _TEXT
            for name in CreateBody.model_fields
            if name not in ("seed", "integrations")
        }
        | {"seed": {"type": "integer"}},
    }
)
_Limit = Annotated[int, Query(ge=1, le=100)]


@router.post(_JOBS, openapi_extra=_NEW)
async def create(request: Request, body: BodyDep, server: ServerDep) -> dict[str, Any]:
    """Make a job; its files are validated whole before this answers."""
    return to_document(await make(request, server, body))


@router.get(_JOBS, response_model=None)
async def list_jobs(
    request: Request, server: ServerDep, limit: _Limit = 20, after: str | None = None
) -> JSONResponse:
    """Return a page of the jobs, the newest first."""
    metadata = to_filter(request.query_params)
    page = await server.jobs.page(owner_of(request), after=after, limit=limit, metadata=metadata)
    return JSONResponse(to_list(page))


@router.get(_ONE)
async def retrieve(request: Request, job_id: str, server: ServerDep) -> dict[str, Any]:
    """Return the job, with how far it is."""
    return to_document(await server.jobs.find(owner_of(request), job_id))


@router.post(_ONE + "/cancel")
async def cancel(request: Request, job_id: str, server: ServerDep) -> dict[str, Any]:
    """End the job; checkpoints that can be asked stay."""
    async with audited(request, server, "training.cancel", job_id[:64]):
        return to_document(await server.jobs.cancel(owner_of(request), job_id))


@router.post(_ONE + "/pause")
async def pause(request: Request, job_id: str, server: ServerDep) -> dict[str, Any]:
    """Let the job wait with what it has learned."""
    async with audited(request, server, "training.pause", job_id[:64]):
        return to_document(await server.jobs.pause(owner_of(request), job_id))


@router.post(_ONE + "/resume")
async def resume(request: Request, job_id: str, server: ServerDep) -> dict[str, Any]:
    """Let a paused job go on where it was."""
    async with audited(request, server, "training.resume", job_id[:64]):
        return to_document(await server.jobs.resume(owner_of(request), job_id))


@router.get(_ONE + "/events", response_model=None, responses=STREAMED)
async def list_events(
    request: Request,
    job_id: str,
    server: ServerDep,
    limit: _Limit = 20,
    after: str | None = None,
    stream: bool = False,
) -> Response:
    """Return a page of what was said of the job, the newest first; or all of it, as it comes."""
    if is_wanted(request, stream=stream):
        known = request.headers.get("last-event-id") or after
        place = await server.jobs.place_of(owner_of(request), job_id, known)
        if request.method == "HEAD":
            return Response(media_type=EventStream.media_type)
        followed = FollowedEvents(server.jobs, job_id, place, server.draining)
        return EventStream(followed, bytes, server.deadline, {})
    page = await server.jobs.events(owner_of(request), job_id, after=after, limit=limit)
    return JSONResponse(to_events(page))


@router.get(_ONE + "/checkpoints", response_model=None)
async def list_checkpoints(
    request: Request, job_id: str, server: ServerDep, limit: _Limit = 10, after: str | None = None
) -> JSONResponse:
    """Return a page of the job's checkpoints that can be asked, the newest first."""
    job, page = await server.jobs.checkpoints(owner_of(request), job_id, after=after, limit=limit)
    return JSONResponse(to_checkpoints(server.engine.model.id, job, page))
