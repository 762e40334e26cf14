"""vLLM's own routes for adapters, so that controllers made for vLLM work here too."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from veneer_adapters.errors import MissingFolder, quoted
from veneer_server.api.admin.offering import require_offer
from veneer_server.api.deps import BodyDep, PrincipalDep, Server, ServerDep, needs, with_body
from veneer_server.api.errors import InvalidRequest, NoAdapterAtPath
from veneer_server.api.noting.auditing import audited
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.ADAPTERS_WRITE)])

_TEXT = {"type": "string", "minLength": 1}
_UNLOAD = {"type": "object", "required": ["lora_name"], "properties": {"lora_name": _TEXT}}
_LOAD = {
    "type": "object",
    "required": ["lora_name", "lora_path"],
    "properties": {"lora_name": _TEXT, "lora_path": _TEXT, "load_inplace": {"type": "boolean"}},
}


@router.post(
    "/v1/load_lora_adapter", response_class=PlainTextResponse, openapi_extra=with_body(_LOAD)
)
async def load_lora_adapter(
    request: Request, body: BodyDep, server: ServerDep, who: PrincipalDep
) -> PlainTextResponse:
    """Publish the content of a source as the live revision of a name, and load it.

    A name that is taken needs ``load_inplace``, as at vLLM.
    """
    name, path = _text(body, "lora_name"), _text(body, "lora_path")
    require_offer(who, server, name, path)
    if not body.get("load_inplace") and _is_loaded(server, name):
        raise InvalidRequest(
            f"The lora adapter '{name}' has already been loaded. If you want to load the adapter "
            "in place, set 'load_inplace' to True.",
            param="lora_name",
        )
    try:
        async with audited(request, server, "adapter.publish", name[:200]):
            await server.adapters.put(name, path)
    except MissingFolder as error:
        raise NoAdapterAtPath(
            f"Loading lora {name} failed: No adapter found for {quoted(path)}.", param="lora_path"
        ) from error
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post(
    "/v1/unload_lora_adapter", response_class=PlainTextResponse, openapi_extra=with_body(_UNLOAD)
)
async def unload_lora_adapter(
    request: Request, body: BodyDep, server: ServerDep, who: PrincipalDep
) -> PlainTextResponse:
    """Remove an adapter; running requests finish on it."""
    name = _text(body, "lora_name")
    server.adapters.require(name, who.sees)
    who.require_owner(name)
    async with audited(request, server, "adapter.remove", name):
        await server.adapters.remove(name)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


def _is_loaded(server: Server, name: str) -> bool:
    return server.adapters.knows(name) and server.adapters.get(name).live is not None


def _text(body: dict[str, Any], field: str) -> str:
    found = body.get(field)
    if not isinstance(found, str) or not found:
        raise InvalidRequest(f"'{field}' must be a text that is not empty.", param=field)
    return found
