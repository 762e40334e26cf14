"""How tokens are chosen, where OpenAI takes values that vLLM refuses."""

from collections.abc import Callable, Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest
from veneer_server.engine.base import Endpoint

LEAST_TOP_P = 1e-9
"""Leaves exactly the most likely token; vLLM refuses 0, which OpenAI takes for the same."""
_SEVERAL = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})


def renamed(name: str, into: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that gives the member ``name`` its OpenAI name ``into``."""

    def translate(body: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in body.items() if key != name}
        if into in rest:
            raise InvalidRequest(
                f"Invalid '{name}': it means '{into}', which the request has too;"
                " leave one of them out.",
                param=name,
            )
        return {**rest, into: body[name]}

    return translate


def without_empty_suffix(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` without a suffix that is empty: it asks for nothing."""
    if body["suffix"] != "":
        return body
    return {key: value for key, value in body.items() if key != "suffix"}


def as_vllm_takes_it(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with the same choice of tokens, written so that vLLM takes it.

    ``top_p: 0`` means the most likely token, and so does ``temperature: 0``; of the latter vLLM
    gives only one answer, although OpenAI gives ``n`` equal ones.
    """
    is_greedy = _is_zero(body.get("temperature")) and not body.get("use_beam_search")
    if endpoint in _SEVERAL and is_greedy and _is_several(body.get("n")):
        return {**body, "temperature": 1.0, "top_p": LEAST_TOP_P}
    if _is_zero(body.get("top_p")):
        return {**body, "top_p": LEAST_TOP_P}
    return body


def as_asked(answer: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return an ``answer`` that repeats ``top_p`` with the value that was asked for."""
    return answer if asked.get("top_p") is None else {**answer, "top_p": asked["top_p"]}


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _is_several(value: Any) -> bool:
    return isinstance(value, int) and value > 1
