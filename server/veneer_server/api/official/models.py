"""Models in Anthropic's shape. Pure.

Source: ``ModelInfo`` and ``ListResponse_ModelInfo_`` of Anthropic's OpenAPI document.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from veneer_server.api.errors import InvalidRequest

MOST_ON_A_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ModelPage:
    """Which models Anthropic's client asks for: ``limit`` of them, behind or before one of them."""

    limit: int = MOST_ON_A_PAGE
    after_id: str | None = None
    before_id: str | None = None


def to_anthropic_list(cards: Sequence[Mapping[str, Any]], asked: ModelPage) -> dict[str, Any]:
    """Return the models of OpenAI's ``cards`` that are on the page.

    Raises:
        InvalidRequest: there is no such page.
    """
    shown, has_more = _page(cards, asked)
    data = [to_anthropic_model(card) for card in shown]
    ids = [model["id"] for model in data] or [None]
    return {"data": data, "first_id": ids[0], "has_more": has_more, "last_id": ids[-1]}


def _page(
    cards: Sequence[Mapping[str, Any]], asked: ModelPage
) -> tuple[Sequence[Mapping[str, Any]], bool]:
    if not 1 <= asked.limit <= MOST_ON_A_PAGE:
        raise InvalidRequest(f"'limit' must be from 1 to {MOST_ON_A_PAGE}.", param="limit")
    if asked.before_id is not None:
        if asked.after_id is not None:
            raise InvalidRequest("Use 'after_id' or 'before_id', not both.", param="before_id")
        end = _place(cards, asked.before_id, "before_id")
        begin = max(end - asked.limit, 0)
        return cards[begin:end], begin > 0
    begin = 0 if asked.after_id is None else _place(cards, asked.after_id, "after_id") + 1
    end = begin + asked.limit
    return cards[begin:end], end < len(cards)


def _place(cards: Sequence[Mapping[str, Any]], model_id: str, param: str) -> int:
    for place, card in enumerate(cards):
        if card["id"] == model_id:
            return place
    raise InvalidRequest(f"'{param}' names no model of this list.", param=param)


def to_anthropic_model(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model of an OpenAI ``card``; prompt and answer share its context."""
    return {
        "type": "model",
        "id": card["id"],
        "display_name": card["id"],
        "created_at": datetime.fromtimestamp(card["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "capabilities": None,
        "max_input_tokens": card["max_model_len"],
        "max_tokens": card["max_model_len"],
    }
