"""vLLM's runtime routes for adapters, so that existing controllers keep working."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from veneer_server.api.deps import BodyDep, StateDep, require_key
from veneer_server.engine.base import RequestRejected

router = APIRouter(dependencies=[Depends(require_key)])


@router.post("/v1/load_lora_adapter")
async def load_lora_adapter(body: BodyDep, state: StateDep) -> PlainTextResponse:
    """Stage a folder inside a configured root and load it."""
    name, path = _text(body, "lora_name"), _text(body, "lora_path")
    revision = await state.staging.stage_path(name, Path(path), state.roots)
    async with state.residency.lease(revision):
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post("/v1/unload_lora_adapter")
async def unload_lora_adapter(body: BodyDep, state: StateDep) -> PlainTextResponse:
    """Forget an adapter; running requests finish on it."""
    name = _text(body, "lora_name")
    for revision in await asyncio.to_thread(state.catalog.remove, name):
        state.residency.forget(revision)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


def _text(body: dict[str, Any], field: str) -> str:
    found = body.get(field)
    if not isinstance(found, str) or not found:
        raise RequestRejected(f"'{field}' must be a text", param=field)
    return found
