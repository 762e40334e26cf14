"""``/v1/models``: the base and every adapter, cold and failed ones too.

These routes never wait for a load.
"""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException

from veneer_adapters.catalog.revision import Adapter
from veneer_adapters.errors import AdapterNotFound
from veneer_adapters.names import Selector
from veneer_server.api.deps import PrincipalDep, Server, ServerDep, needs
from veneer_server.api.errors import InvalidRequest, is_anthropic
from veneer_server.api.noting.auditing import audited
from veneer_server.api.official.models import (
    MOST_ON_A_PAGE,
    ModelPage,
    to_anthropic_list,
    to_anthropic_model,
)
from veneer_server.serving.resolving import selected
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.scopes import Scope

router = APIRouter()
_READ = needs(Scope.MODELS_READ)


@router.get("/v1/models", dependencies=[_READ])
async def list_models(
    request: Request,
    server: ServerDep,
    who: PrincipalDep,
    limit: int = MOST_ON_A_PAGE,
    after_id: str | None = None,
    before_id: str | None = None,
) -> dict[str, Any]:
    """Return a card for the base model and one for each adapter.

    Anthropic's clients get them in pages; OpenAI's list has none.
    """
    seen = [a for a in server.adapters.every() if who.sees(a.name)]
    base = [_base_card(server)] if who.sees_base() else []
    cards = base + [_adapter_card(adapter, server) for adapter in seen]
    if is_anthropic(request.scope):
        return to_anthropic_list(cards, ModelPage(limit, after_id, before_id))
    return {"object": "list", "data": cards}


def _require_name(model_id: str) -> None:
    # The pattern takes an empty name too, for it takes names with a slash.
    if not model_id:
        raise HTTPException(404)


@router.get("/v1/models/{model_id:path}", dependencies=[Depends(_require_name), _READ])
async def retrieve_model(
    request: Request, model_id: str, server: ServerDep, who: PrincipalDep
) -> dict[str, Any]:
    """Return the card of one model, under the name that the client used for it."""
    selector = _select(model_id, server, who)
    if selector is None:
        card = _base_card(server)
    else:
        card = _adapter_card(server.adapters.select(selector), server)
    card["id"] = model_id
    return to_anthropic_model(card) if is_anthropic(request.scope) else card


@router.delete(
    "/v1/models/{model_id:path}",
    dependencies=[Depends(_require_name), needs(Scope.ADAPTERS_WRITE)],
)
async def delete_model(
    request: Request, model_id: str, server: ServerDep, who: PrincipalDep
) -> dict[str, Any]:
    """Remove an adapter, as ``DELETE /v1/adapters/{name}`` does."""
    if "@" in model_id:
        raise InvalidRequest(
            "This route deletes whole adapters only; name the adapter without '@'.", param="model"
        )
    selector = _select(model_id, server, who)
    if selector is None:
        raise InvalidRequest("The base model cannot be deleted.", param="model")
    who.require_owner(selector.adapter)
    async with audited(request, server, "adapter.remove", selector.adapter):
        await server.adapters.remove(selector.adapter)
    return {"id": model_id, "object": "model", "deleted": True}


def _select(model_id: str, server: Server, who: Principal) -> Selector | None:
    """Return which adapter ``model_id`` names for ``who``, None for the base."""

    def knows(name: str) -> bool:
        return who.sees(name) and server.adapters.knows(name)

    selector = selected(model_id, server.engine.model, knows)
    if selector is not None:
        server.adapters.require(selector.adapter, who.sees)
    elif not who.sees_base():
        raise AdapterNotFound(model_id)
    return selector


def _base_card(server: Server) -> dict[str, Any]:
    model = server.engine.model
    return {
        "id": model.id,
        "object": "model",
        "created": server.started_s,
        "owned_by": "veneer",
        "root": model.root,
        "parent": None,
        "max_model_len": model.max_model_len,
    }


def _adapter_card(adapter: Adapter, server: Server) -> dict[str, Any]:
    live = adapter.live
    facts: dict[str, Any] = {
        "revision": live.number if live else None,
        "rank": live.manifest.rank if live else None,
        "state": adapter.state,
    }
    if adapter.compressed is not None:
        facts["compressed"] = adapter.compressed
    if adapter.reason is not None:
        facts |= {"reason": adapter.reason, "detail": adapter.detail}
    return {
        "id": adapter.name,
        "object": "model",
        "created": adapter.created,
        "owned_by": "veneer",
        "root": live.label if live else adapter.name,
        "parent": server.engine.model.id,
        "max_model_len": server.engine.model.max_model_len,
        "adapter": facts,
    }
