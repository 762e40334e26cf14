"""The admin routes of aliases: show, move, split, roll back, remove, and the history."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from veneer_adapters.catalog.alias import Alias, Guard, Sticky, Target
from veneer_adapters.publishing.publishing import Wanted
from veneer_server.api.admin.bodies import Body, described, parse, require_alias_name
from veneer_server.api.admin.once import once
from veneer_server.api.admin.pages import page
from veneer_server.api.admin.paths import AdapterRoute, NameDep, OwnNameDep
from veneer_server.api.admin.views import alias_json
from veneer_server.api.deps import BodyDep, ServerDep, needs
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.noting.auditing import audited
from veneer_server.tenancy.scopes import Scope

router = APIRouter(route_class=AdapterRoute)
_READ, _WRITE = [needs(Scope.ADAPTERS_READ)], [needs(Scope.ADAPTERS_WRITE)]

_PATH = "/v1/adapters/{name}/aliases/{alias}"
_DIGITS = 18
"""Most digits of a version: what any database holds."""
_Number = Annotated[int, Field(ge=1, lt=2**31)]


class TargetBody(Body):
    """One revision and its share, relative to the other weights."""

    revision: _Number
    weight: _Number = 1


class GuardBody(Body):
    """When the guard takes a canary back."""

    min_requests: _Number
    margin: float


class AliasBody(Body):
    """Body of the ``PUT`` of an alias: one revision, or several with weights."""

    revision: _Number | None = None
    targets: list[TargetBody] | None = None
    sticky: Sticky | None = None
    guard: GuardBody | None = None


@router.get(_PATH, dependencies=_READ)
async def show_alias(name: NameDep, alias: str, server: ServerDep) -> Response:
    """Return what one alias points to; the ETag is the alias's version."""
    return _answer(name, server.adapters.alias(name, alias))


@router.put(_PATH, openapi_extra=described(AliasBody), dependencies=_WRITE)
async def move_alias(
    request: Request, name: OwnNameDep, alias: str, body: BodyDep, server: ServerDep
) -> Response:
    """Point an alias to one revision or to several; a new alias is made.

    With If-Match the alias moves only if it still has the version that the client names.
    """
    asked = parse(AliasBody, body)
    guard = Guard(asked.guard.min_requests, asked.guard.margin) if asked.guard else None
    wanted = Wanted(_targets(asked), asked.sticky, guard, _expected(request))
    targets = [[target.revision, target.weight] for target in wanted.targets]
    object_ = f"{name}@{require_alias_name(alias)}"
    async with audited(request, server, "alias.move", object_, targets=targets):
        return _answer(name, await server.adapters.move(name, alias, wanted))


@router.delete(_PATH, dependencies=_WRITE)
async def remove_alias(
    request: Request, name: OwnNameDep, alias: str, server: ServerDep
) -> dict[str, Any]:
    """Remove an alias; its revisions stay."""
    expected = _expected(request)
    async with audited(request, server, "alias.remove", f"{name}@{alias[:100]}"):
        await server.adapters.remove_alias(name, alias, expected=expected)
    return {"adapter": name, "alias": alias, "object": "adapter.alias", "deleted": True}


@router.post(f"{_PATH}/rollback", dependencies=_WRITE)
async def roll_back(request: Request, name: OwnNameDep, alias: str, server: ServerDep) -> Response:
    """Roll an alias back: point it to what it pointed to before."""

    async def act() -> Response:
        expected = _expected(request)
        async with audited(request, server, "alias.rollback", f"{name}@{alias[:100]}"):
            return _answer(name, await server.adapters.roll_back(name, alias, expected=expected))

    return await once(request, server, {}, act)


@router.get(f"{_PATH}/history", dependencies=_READ)
async def list_moves(
    request: Request, name: NameDep, alias: str, server: ServerDep
) -> dict[str, Any]:
    """Return a page of the alias as it was after each move, the newest first."""
    moves = await server.adapters.history(name, alias)
    return page(request, moves, lambda a: str(a.version), lambda a: alias_json(name, a))


def _answer(name: str, alias: Alias) -> Response:
    shown = orjson.dumps(alias_json(name, alias))
    return Response(shown, headers={"etag": f'"{alias.version}"'}, media_type="application/json")


def _targets(asked: AliasBody) -> tuple[Target, ...]:
    if (asked.revision is None) == (asked.targets is None):
        raise InvalidRequest("Give exactly one of 'revision' and 'targets'.", param="revision")
    if asked.revision is not None:
        return (Target(asked.revision),)
    return tuple(Target(t.revision, t.weight) for t in asked.targets or ())


def _expected(request: Request) -> int | None:
    if request.headers.get("if-none-match", "").strip() == "*":
        return 0
    text = request.headers.get("if-match")
    if text is None or text.strip() == "*":
        return None
    version = text.strip().removeprefix("W/").strip('"')
    if not version.isdecimal() or len(version) > _DIGITS:
        raise InvalidRequest(
            "The header If-Match must hold the version of the alias, as its ETag shows it.",
            param="If-Match",
        )
    return int(version)
