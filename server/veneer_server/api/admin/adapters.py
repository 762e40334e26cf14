"""The admin routes of adapters and of their revisions: list, add, show, pin, load, remove."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from veneer_adapters.names import LIVE
from veneer_server.api.admin.bodies import Body, described, parse, require_alias_name
from veneer_server.api.admin.offering import require_location, require_offer
from veneer_server.api.admin.once import once
from veneer_server.api.admin.pages import page
from veneer_server.api.admin.paths import AdapterRoute, NameDep, NewNameDep, OwnNameDep
from veneer_server.api.admin.uploading import SCHEMA, publish, receive
from veneer_server.api.admin.views import adapter_json, revision_json
from veneer_server.api.deps import BodyDep, PrincipalDep, ServerDep, needs
from veneer_server.api.noting.auditing import audited
from veneer_server.tenancy.scopes import Scope

router = APIRouter(route_class=AdapterRoute)
_UPLOAD = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": SCHEMA}}}
}
_READ, _WRITE = [needs(Scope.ADAPTERS_READ)], [needs(Scope.ADAPTERS_WRITE)]

_Source = Annotated[str, Field(min_length=1, max_length=2048)]


class AddBody(Body):
    """Body of ``POST /v1/adapters``."""

    name: str
    source: _Source
    pinned: bool = False
    allow_no_effect: bool = False
    wait: bool = True


class PublishBody(Body):
    """Body of ``POST /v1/adapters/{name}/revisions``."""

    source: _Source
    alias: str | None = LIVE
    allow_no_effect: bool = False
    wait: bool = True


class CheckBody(Body):
    """Body of ``POST /v1/adapters/check``."""

    source: _Source


class PatchBody(Body):
    """Body of ``PATCH /v1/adapters/{name}``."""

    pinned: bool


@router.get("/v1/adapters", dependencies=_READ)
async def list_adapters(request: Request, server: ServerDep, who: PrincipalDep) -> dict[str, Any]:
    """Return a page of all adapters, failed ones too, ordered by name."""
    seen = [adapter for adapter in server.adapters.every() if who.sees(adapter.name)]
    return page(request, seen, lambda a: a.name, lambda a: adapter_json(a, who))


@router.post("/v1/adapters", openapi_extra=described(AddBody), dependencies=_WRITE)
async def add_adapter(
    request: Request, body: BodyDep, server: ServerDep, who: PrincipalDep
) -> Response:
    """Add a new adapter from a source."""
    asked = parse(AddBody, body)
    require_offer(who, server, asked.name, asked.source)

    async def act() -> Response:
        async with audited(request, server, "adapter.add", asked.name[:200], wait=asked.wait):
            added = await server.adapters.add(
                asked.name,
                asked.source,
                pinned=asked.pinned,
                allow_no_effect=asked.allow_no_effect,
                wait=asked.wait,
            )
        return _answer(adapter_json(added, who), 201 if asked.wait else 202)

    return await once(request, server, body, act)


@router.post("/v1/adapters/check", openapi_extra=described(CheckBody), dependencies=_WRITE)
async def check_adapter(body: BodyDep, server: ServerDep, who: PrincipalDep) -> Response:
    """Return the doctor's report on a source: whether it loads, its cost, what to change."""
    source = parse(CheckBody, body).source
    require_location(who, server, source)
    report = await server.adapters.check(source)
    return Response(report.to_json(), media_type="application/json")


@router.get("/v1/adapters/{name}", dependencies=_READ)
async def show_adapter(name: NameDep, server: ServerDep, who: PrincipalDep) -> dict[str, Any]:
    """Return one adapter."""
    return adapter_json(server.adapters.get(name), who)


@router.patch("/v1/adapters/{name}", openapi_extra=described(PatchBody), dependencies=_WRITE)
async def change_adapter(
    request: Request, name: OwnNameDep, body: BodyDep, server: ServerDep
) -> dict[str, Any]:
    """Pin the live revision to its device slot, or unpin it."""
    pinned = parse(PatchBody, body).pinned
    async with audited(request, server, "adapter.pin", name, pinned=pinned):
        return adapter_json(await server.adapters.pin(name, pinned=pinned))


@router.delete("/v1/adapters/{name}", dependencies=_WRITE)
async def remove_adapter(request: Request, name: OwnNameDep, server: ServerDep) -> dict[str, Any]:
    """Remove an adapter; running requests finish on it."""
    async with audited(request, server, "adapter.remove", name):
        await server.adapters.remove(name)
    return {"name": name, "object": "adapter", "deleted": True}


@router.get("/v1/adapters/{name}/revisions", dependencies=_READ)
async def list_revisions(
    request: Request, name: NameDep, server: ServerDep, who: PrincipalDep
) -> dict[str, Any]:
    """Return a page of all revisions of one adapter, the newest first."""
    found = server.adapters.revisions(name)
    return page(request, found, lambda r: str(r.number), lambda r: revision_json(r, who))


@router.post(
    "/v1/adapters/{name}/revisions", openapi_extra=described(PublishBody), dependencies=_WRITE
)
async def publish_revision(
    request: Request, name: OwnNameDep, body: BodyDep, server: ServerDep, who: PrincipalDep
) -> Response:
    """Publish the content of a source as a revision, prove it, and point an alias to it."""
    asked = parse(PublishBody, body)
    require_location(who, server, asked.source)
    if asked.alias is not None:
        require_alias_name(asked.alias)

    async def act() -> Response:
        details = {"alias": asked.alias, "wait": asked.wait}
        async with audited(request, server, "adapter.publish", name, **details) as change:
            published = await server.adapters.publish(
                name,
                asked.source,
                alias=asked.alias,
                allow_no_effect=asked.allow_no_effect,
                wait=asked.wait,
            )
            change.object = published.label if published else name
        if published is None:
            return _answer(adapter_json(server.adapters.get(name)), 202)
        return _answer(revision_json(published), 201)

    return await once(request, server, body, act)


@router.post("/v1/adapters/{name}/upload", openapi_extra=_UPLOAD, dependencies=_WRITE)
async def upload_revision(
    request: Request, name: NewNameDep, server: ServerDep, who: PrincipalDep
) -> Response:
    """Publish the two files of the form as a revision of an adapter, which may be new."""
    async with server.adapters.receiving() as upload:
        fields = await receive(request, upload)
        return _answer(
            revision_json(await publish(request, server, who, name, upload, fields)), 201
        )


@router.post("/v1/adapters/{name}/load", dependencies=_WRITE)
async def load_adapter(name: OwnNameDep, server: ServerDep) -> dict[str, Any]:
    """Load the live revision before a request asks for it."""
    return adapter_json(await server.adapters.load(name))


@router.post("/v1/adapters/{name}/unload", dependencies=_WRITE)
async def unload_adapter(name: OwnNameDep, server: ServerDep) -> dict[str, Any]:
    """Free the slots of every revision as soon as no request uses it."""
    return adapter_json(server.adapters.unload(name))


def _answer(shown: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(shown), status, media_type="application/json")
