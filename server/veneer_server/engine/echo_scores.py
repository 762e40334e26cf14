"""How likely the tokens of a prompt are to the echo engine, which has no model: all alike."""

from collections.abc import Mapping
from typing import Any

_BASE, _ADAPTER = 2.0, 1.0


def scores_of(
    body: Mapping[str, Any], base: str, losses: Mapping[str, float]
) -> list[dict[str, Any] | None] | None:
    """Return vLLM's ``prompt_logprobs`` for a prompt of token ids that asks for them, else None.

    ``losses`` are in nats, under beginnings of internal names. An adapter that has none there has
    half the loss of the base.
    """
    prompt, model = body.get("prompt"), str(body.get("model"))
    if body.get("prompt_logprobs") is None or not isinstance(prompt, list):
        return None
    usual = _BASE if model == base else _ADAPTER
    loss = next((losses[key] for key in losses if model.startswith(key)), usual)
    told = {"logprob": -loss, "rank": 1 if loss < _BASE else 2, "decoded_token": ""}
    return [None, *({str(token): told} for token in prompt[1:])]
