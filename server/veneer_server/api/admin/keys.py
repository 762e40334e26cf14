"""The admin routes of keys: make, list and revoke. The text of a key is shown once."""

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from veneer_server.api.admin.bodies import Body, described, parse
from veneer_server.api.admin.pages import page
from veneer_server.api.deps import BodyDep, ServerDep, needs
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.noting.auditing import audited
from veneer_server.settings import MOST
from veneer_server.tenancy.keys import Key, is_tenant
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.patterns import is_pattern
from veneer_server.tenancy.principals import default_patterns
from veneer_server.tenancy.scopes import DEFAULT_SCOPES, Scope

router = APIRouter(dependencies=[needs(Scope.KEYS_ADMIN)])

_Limit = Annotated[int, Field(ge=1, le=MOST)] | None
_LONGEST_S = 100 * 365 * 24 * 3600


class KeyBody(Body):
    """Body of ``POST /v1/keys``."""

    name: Annotated[str, Field(max_length=200)] = ""
    tenant: str | None = None
    scopes: Annotated[list[str], Field(min_length=1, max_length=len(Scope))] | None = None
    adapters: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=_LONGEST_S)] | None = None
    rpm: _Limit = None
    tpm: _Limit = None
    concurrency: _Limit = None


@router.post("/v1/keys", openapi_extra=described(KeyBody))
async def create_key(request: Request, body: BodyDep, server: ServerDep) -> JSONResponse:
    """Make a key. Its text is in this answer and nowhere else."""
    asked = parse(KeyBody, body)
    expires = None if asked.expires_in_s is None else int(time.time()) + asked.expires_in_s
    made: dict[str, Any] = {
        "tenant": _tenant(asked.tenant),
        "name": asked.name,
        "scopes": _scopes(asked.scopes),
        "patterns": _patterns(asked),
        "expires": expires,
    }
    limits = Limits(asked.rpm, asked.tpm, asked.concurrency)
    async with audited(request, server, "key.create", "", **made, limits=asdict(limits)) as change:
        key, text = await server.keyring.create(**made, limits=limits)
        change.object = key.id
    return JSONResponse({**key_json(key), "key": text}, 201)


@router.get("/v1/keys")
async def list_keys(request: Request, server: ServerDep) -> dict[str, Any]:
    """Return a page of all keys, expired and revoked ones too, the newest first."""
    return page(request, server.keyring.every(), lambda key: key.id, key_json)


@router.delete("/v1/keys/{key_id}")
async def revoke_key(request: Request, key_id: str, server: ServerDep) -> dict[str, Any]:
    """Revoke a key; within a second it opens nothing on any server of the catalog."""
    async with audited(request, server, "key.revoke", key_id[:100]):
        await server.keyring.revoke(key_id)
    return {"id": key_id, "object": "api_key.deleted", "deleted": True}


def key_json(key: Key) -> dict[str, Any]:
    """Return what may be shown of a key."""
    return {
        "object": "api_key",
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": list(key.scopes),
        "adapters": None if key.patterns is None else list(key.patterns),
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "limits": asdict(key.limits),
    }


def _tenant(name: str | None) -> str | None:
    if name is None or is_tenant(name):
        return name
    raise InvalidRequest(
        "'tenant' must be a name of at most 63 letters, digits, '.', '_' and '-', as the first part"
        " of team/name.",
        param="tenant",
    )


def _scopes(names: list[str] | None) -> tuple[Scope, ...]:
    if names is None:
        return DEFAULT_SCOPES
    unknown = [name for name in names if name not in set(Scope)]
    if unknown:
        raise InvalidRequest(
            f"There is no scope {unknown[0][:100]!r}; there are {', '.join(Scope)}.", param="scopes"
        )
    return tuple(Scope(name) for name in dict.fromkeys(names))


def _patterns(asked: KeyBody) -> tuple[str, ...] | None:
    if asked.adapters is None:
        return None if asked.tenant is None else default_patterns(asked.tenant)
    for text in asked.adapters:
        if not is_pattern(text):
            raise InvalidRequest(
                f"{text[:100]!r} cannot stand in 'adapters': use 'base', names, and patterns such"
                " as '*', 'team/*' and '*/*'.",
                param="adapters",
            )
    return tuple(dict.fromkeys(asked.adapters))
