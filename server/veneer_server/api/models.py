"""``/v1/models``: the base and every adapter, cold and failed ones too; never waits on a load."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends

from veneer_adapters.catalog.revision import Adapter
from veneer_adapters.names import LIVE, parse_model
from veneer_server.api.admin.views import state_of
from veneer_server.api.deps import State, StateDep, require_key
from veneer_server.engine.base import RequestRejected

router = APIRouter(dependencies=[Depends(require_key)])


@router.get("/v1/models")
async def list_models(state: StateDep) -> dict[str, Any]:
    """Every model a request may name."""
    cards = [_base_card(state), *(_adapter_card(a, state) for a in state.catalog.adapters())]
    return {"object": "list", "data": cards}


@router.get("/v1/models/{model_id:path}")
async def retrieve_model(model_id: str, state: StateDep) -> dict[str, Any]:
    """One model under any of its names."""
    selector = parse_model(model_id, {state.engine.model.id})
    if selector is None:
        return {**_base_card(state), "id": model_id}
    adapter = state.catalog.get(selector.adapter)
    if selector.alias != LIVE:
        adapter = replace(adapter, live=state.catalog.resolve(selector))
    return {**_adapter_card(adapter, state), "id": model_id}


@router.delete("/v1/models/{model_id:path}")
async def delete_model(model_id: str, state: StateDep) -> dict[str, Any]:
    """Forget an adapter, as ``DELETE /v1/adapters/{name}`` does."""
    if "@" in model_id:
        raise RequestRejected(
            "A revision or an alias cannot be deleted here; name the adapter alone.", param="model"
        )
    selector = parse_model(model_id, {state.engine.model.id})
    if selector is None:
        raise RequestRejected("The base model cannot be deleted.", param="model")
    await state.catalog.remove(selector.adapter)
    return {"id": model_id, "object": "model", "deleted": True}


def _base_card(state: State) -> dict[str, Any]:
    model = state.engine.model
    return {
        "id": model.id,
        "object": "model",
        "created": state.started_s,
        "owned_by": "veneer",
        "root": model.root,
        "parent": None,
        "max_model_len": model.max_model_len,
    }


def _adapter_card(adapter: Adapter, state: State) -> dict[str, Any]:
    live = adapter.live
    facts: dict[str, Any] = {
        "revision": live.number if live else None,
        "rank": live.manifest.rank if live else None,
        "state": state_of(adapter, state),
    }
    if adapter.reason is not None:
        facts |= {"reason": adapter.reason, "detail": adapter.detail}
    return {
        "id": adapter.name,
        "object": "model",
        "created": adapter.created,
        "owned_by": "veneer",
        "root": live.header if live else adapter.name,
        "parent": state.engine.model.id,
        "max_model_len": state.engine.model.max_model_len,
        "adapter": facts,
    }
