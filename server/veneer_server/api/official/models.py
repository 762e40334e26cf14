"""Models in Anthropic's shape. Pure.

Source: ``ModelInfo`` and ``ListResponse_ModelInfo_`` of Anthropic's OpenAPI document.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def to_anthropic_list(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the models of OpenAI's ``cards`` in one page."""
    data = [to_anthropic_model(card) for card in cards]
    return {
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "has_more": False,
        "last_id": data[-1]["id"] if data else None,
    }


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
