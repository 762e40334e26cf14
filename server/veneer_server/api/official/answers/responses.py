"""Responses in OpenAI's shape, with every member that Open Responses asks for too. Pure.

Sources: ``Response`` of OpenAI's OpenAPI document, and ``ResponseResource`` of
https://www.openresponses.org. ``response_events`` converts the events of a stream.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from veneer_server.api.official.answers.nulls import without_nulls
from veneer_server.api.official.translating.choices import is_allowed_tools
from veneer_server.api.official.translating.sampling import as_asked

NOTHING: Mapping[str, Any] = MappingProxyType({})
_NULLABLE = {
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": None,
    "temperature": None,
    "top_p": None,
}
"""Members that a schema requires, although they may be null."""
_ASKED: dict[str, Any] = {
    "background": False,
    "frequency_penalty": 0.0,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": "",
    "safety_identifier": "",
    "store": True,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "truncation": "disabled",
}
"""Members that repeat the request, and their values when the request left them out. The published
schemas disagree whether the two texts may be null; an empty text is right for all of them."""
_REASONING = {"effort": None, "summary": None}
_USAGE = ("input_tokens", "output_tokens", "total_tokens")
_NO_USAGE = dict.fromkeys(_USAGE, 0)
"""Of a response whose tokens are not counted yet: Open Responses requires usage, and OpenAI's
schema has no null there."""


def to_response(
    body: Mapping[str, Any],
    model: str,
    asked: Mapping[str, Any] = NOTHING,
    *,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the response to a request that ``asked`` this, completed ``now``.

    It always names the format of its text, also when that is plain. When a limit cut the response
    off, its last item is incomplete too.
    """
    given = {name: asked[name] for name in _ASKED if asked.get(name) is not None}
    found = {**_NULLABLE, **without_nulls(body), **_ASKED, **given, "model": model}
    found = as_asked(found, asked)
    if is_allowed_tools(asked.get("tool_choice")):
        found["tools"] = asked["tools"]  # the engine got only those that may be called
    found["output"] = [to_item(item) for item in found["output"]]
    found["tools"] = [_to_tool(tool) for tool in found["tools"]]
    found["text"] = _to_text(found.get("text") or {})
    found["reasoning"] = {**_REASONING, **without_nulls(found.get("reasoning") or {})}
    found["service_tier"] = "default"
    found["usage"] = _to_usage(found.get("usage") or _NO_USAGE)
    if isinstance(conversation := asked.get("conversation"), Mapping):
        found["conversation"] = {"id": conversation["id"]}
    _end(found, time.time() if now is None else now)
    return found


def _end(found: dict[str, Any], now: float) -> None:
    if found.get("status") == "completed":
        found["completed_at"] = int(now)
    elif found.get("status") == "incomplete" and found["output"]:
        found["output"][-1]["status"] = "incomplete"


def to_unanswered(
    asked: Mapping[str, Any], model: str, response_id: str, *, status: str, now: float
) -> dict[str, Any]:
    """Return the response to a request that ``asked`` this, as long as nothing is generated."""
    body = {
        "id": response_id,
        "object": "response",
        "created_at": int(now),
        "status": status,
        "output": [],
        "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata"),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "reasoning": _object(asked.get("reasoning")),
        "temperature": asked.get("temperature", 1.0),
        "text": _object(asked.get("text")),
        "tools": [tool for tool in asked.get("tools") or () if isinstance(tool, Mapping)],
        "top_p": asked.get("top_p", 1.0),
        "user": asked.get("user"),
    }
    return to_response(body, model, asked, now=now)


def _object(value: Any) -> Any:
    return value if isinstance(value, Mapping) else None


def to_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an output item."""
    found = without_nulls(item)
    if found["type"] == "message":
        found["content"] = [to_part(part) for part in found["content"]]
    return found


def to_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of the content of an output item."""
    found = without_nulls(part)
    if found["type"] == "output_text":
        found = {"annotations": [], "logprobs": [], **found}
    return found


def _to_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(tool)
    if found["type"] == "function":
        found = {"description": None, "parameters": None, "strict": None, **found}
    return found


def _to_text(text: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(text)
    found["format"] = without_nulls(found.get("format", {"type": "text"}))
    return found


def _to_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    read = usage.get("input_tokens_details") or {}
    written = usage.get("output_tokens_details") or {}
    return {
        **{name: usage[name] for name in _USAGE},
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens") or 0,
            "cache_write_tokens": read.get("cache_write_tokens") or 0,
        },
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens") or 0},
    }
