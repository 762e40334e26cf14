"""The admin routes of adapters: list, add, describe, pin, warm, remove; their revisions."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field

from veneer_adapters.errors import AdapterPinned, quoted
from veneer_adapters.names import LIVE, Selector
from veneer_adapters.publishing.intake import source_of
from veneer_adapters.publishing.staging import Offer
from veneer_server.api.admin.bodies import Body, parse, require_alias_name
from veneer_server.api.admin.once import once
from veneer_server.api.admin.pages import page
from veneer_server.api.admin.paths import AdapterRoute, NameDep
from veneer_server.api.admin.views import adapter_json, arriving_json, revision_json
from veneer_server.api.deps import BodyDep, State, StateDep, require_key

router = APIRouter(dependencies=[Depends(require_key)], route_class=AdapterRoute)

_Source = Annotated[str, Field(min_length=1, max_length=2048)]


class AddBody(Body):
    """``POST /v1/adapters``."""

    name: str
    source: _Source
    pinned: bool = False
    allow_no_effect: bool = False
    wait: bool = True


class PublishBody(Body):
    """``POST /v1/adapters/{name}/revisions``."""

    source: _Source
    alias: str | None = LIVE
    allow_no_effect: bool = False
    wait: bool = True


class CheckBody(Body):
    """``POST /v1/adapters/check``."""

    source: _Source


class PatchBody(Body):
    """``PATCH /v1/adapters/{name}``."""

    pinned: bool


@router.get("/v1/adapters")
async def list_adapters(request: Request, state: StateDep) -> dict[str, Any]:
    """Every adapter there is, failed ones too, by name."""
    adapters = state.catalog.adapters()
    return page(request, adapters, lambda a: a.name, lambda a: adapter_json(a, state))


@router.post("/v1/adapters")
async def add_adapter(request: Request, body: BodyDep, state: StateDep) -> Response:
    """Make what a source holds a new adapter."""
    asked = parse(AddBody, body)
    offer = Offer(
        asked.name,
        source_of(asked.source),
        is_new=True,
        pinned=asked.pinned,
        may_change_nothing=asked.allow_no_effect,
    )

    async def act() -> Response:
        if not asked.wait:
            state.staging.start(offer)
            return _answer(describe(asked.name, state), 202)
        await state.staging.stage(offer)
        return _answer(describe(asked.name, state), 201)

    return await once(request, state, body, act)


@router.post("/v1/adapters/check")
async def check_adapter(body: BodyDep, state: StateDep) -> Response:
    """Say whether what a source holds would load, what it costs and what to change."""
    report = await state.checkup.examine(source_of(parse(CheckBody, body).source))
    return Response(report.to_json(), media_type="application/json")


@router.get("/v1/adapters/{name}")
async def show_adapter(name: NameDep, state: StateDep) -> dict[str, Any]:
    """One adapter."""
    return describe(name, state)


@router.patch("/v1/adapters/{name}")
async def change_adapter(name: NameDep, body: BodyDep, state: StateDep) -> dict[str, Any]:
    """Pin what is live to its device slot, or let it go."""
    await _pin(name, state, pinned=parse(PatchBody, body).pinned)
    return describe(name, state)


@router.delete("/v1/adapters/{name}")
async def remove_adapter(name: NameDep, state: StateDep) -> dict[str, Any]:
    """Forget an adapter; running requests finish on it."""
    await state.catalog.remove(name)
    return {"name": name, "object": "adapter", "deleted": True}


@router.get("/v1/adapters/{name}/revisions")
async def list_revisions(request: Request, name: NameDep, state: StateDep) -> dict[str, Any]:
    """Every revision of one adapter, the newest first."""
    newest_first = state.catalog.revisions(name)[::-1]
    return page(request, newest_first, lambda r: str(r.number), revision_json)


@router.post("/v1/adapters/{name}/revisions")
async def publish_revision(
    request: Request, name: NameDep, body: BodyDep, state: StateDep
) -> Response:
    """Make what a source holds a revision, prove it, and point an alias to it."""
    asked = parse(PublishBody, body)
    if asked.alias is not None:
        require_alias_name(asked.alias)
    state.catalog.revisions(name)
    may = asked.allow_no_effect
    offer = Offer(name, source_of(asked.source), asked.alias, may_change_nothing=may)

    async def act() -> Response:
        if not asked.wait:
            state.staging.start(offer)
            return _answer(describe(name, state), 202)
        return _answer(revision_json(await state.staging.stage(offer)), 201)

    return await once(request, state, body, act)


@router.post("/v1/adapters/{name}/load")
async def load_adapter(name: NameDep, state: StateDep) -> dict[str, Any]:
    """Load what is live before anybody asks for it."""
    await state.residency.warm(state.catalog.resolve(Selector(name, alias=LIVE)))
    return describe(name, state)


@router.post("/v1/adapters/{name}/unload")
async def unload_adapter(name: NameDep, state: StateDep) -> dict[str, Any]:
    """Free the slots of every revision as soon as nobody uses it."""
    if state.catalog.get(name).pinned:
        raise AdapterPinned(f"The adapter {quoted(name)} is pinned; unpin it first.")
    for revision in state.catalog.revisions(name):
        state.residency.forget(revision)
    return describe(name, state)


def describe(name: str, state: State) -> dict[str, Any]:
    """Return the adapter, also one that is being fetched for the first time."""
    progress = state.staging.progress().get(name)
    if progress is not None and not state.catalog.knows(name):
        return arriving_json(name, progress)
    return adapter_json(state.catalog.get(name), state)


async def _pin(name: str, state: State, *, pinned: bool) -> None:
    if pinned:
        await state.residency.pin(state.catalog.resolve(Selector(name, alias=LIVE)))
    await state.catalog.pin(name, pinned=pinned)


def _answer(told: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(told), status, media_type="application/json")
