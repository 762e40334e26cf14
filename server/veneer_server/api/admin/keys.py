"""The admin routes of keys: make, list and revoke. The text of a key is shown once."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from veneer_server.api.admin.bodies import described, parse
from veneer_server.api.admin.making import KeyBody, make
from veneer_server.api.admin.pages import page
from veneer_server.api.deps import BodyDep, ServerDep, needs
from veneer_server.api.noting.auditing import audited
from veneer_server.tenancy.keys import Key
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.KEYS_ADMIN)])


@router.post("/v1/keys", openapi_extra=described(KeyBody))
async def create_key(request: Request, body: BodyDep, server: ServerDep) -> JSONResponse:
    """Make a key. Its text is in this answer and nowhere else."""
    key, text = await make(request, server, parse(KeyBody, body))
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
