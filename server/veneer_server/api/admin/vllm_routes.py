"""vLLM's runtime routes for adapters, so that existing controllers keep working."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from veneer_adapters.publishing.intake import source_of
from veneer_adapters.publishing.staging import Offer
from veneer_server.api.deps import BodyDep, StateDep, require_key
from veneer_server.engine.base import RequestRejected

router = APIRouter(dependencies=[Depends(require_key)])


@router.post("/v1/load_lora_adapter")
async def load_lora_adapter(body: BodyDep, state: StateDep) -> PlainTextResponse:
    """Publish what a source holds as the live revision of a name, new or not, and load it."""
    name, path = _text(body, "lora_name"), _text(body, "lora_path")
    revision = await state.staging.stage(Offer(name, source_of(path)))
    await state.residency.warm(revision)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post("/v1/unload_lora_adapter")
async def unload_lora_adapter(body: BodyDep, state: StateDep) -> PlainTextResponse:
    """Forget an adapter; running requests finish on it."""
    name = _text(body, "lora_name")
    await state.catalog.remove(name)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


def _text(body: dict[str, Any], field: str) -> str:
    found = body.get(field)
    if not isinstance(found, str) or not found:
        raise RequestRejected(f"'{field}' must be a text", param=field)
    return found
