"""vLLM's own routes for adapters, so that controllers made for vLLM work here too."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from veneer_server.api.deps import BodyDep, ServerDep, require_key
from veneer_server.api.errors import InvalidRequest

router = APIRouter(dependencies=[Depends(require_key)])


@router.post("/v1/load_lora_adapter")
async def load_lora_adapter(body: BodyDep, server: ServerDep) -> PlainTextResponse:
    """Publish the content of a source as the live revision of a name, and load it.

    The name may be new.
    """
    name, path = _text(body, "lora_name"), _text(body, "lora_path")
    await server.adapters.put(name, path)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post("/v1/unload_lora_adapter")
async def unload_lora_adapter(body: BodyDep, server: ServerDep) -> PlainTextResponse:
    """Remove an adapter; running requests finish on it."""
    name = _text(body, "lora_name")
    await server.adapters.remove(name)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


def _text(body: dict[str, Any], field: str) -> str:
    found = body.get(field)
    if not isinstance(found, str) or not found:
        raise InvalidRequest(f"'{field}' must be a text that is not empty.", param=field)
    return found
