"""Responses and their events in OpenAI's shape. Pure.

Source: ``Response`` and ``ResponseStreamEvent`` of OpenAI's OpenAPI document.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from veneer_server.api.official.nulls import without_nulls

_NULLABLE = {
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": None,
    "temperature": None,
    "top_p": None,
}
"""Members that the schema requires, although they may be null."""
_AS_THEY_ARE = (
    b"event: response.output_text.delta\n",
    b"event: response.function_call_arguments.delta\n",
)
"""The most frequent events stay as they are: they name no model and have the official shape."""
_USAGE = ("input_tokens", "output_tokens", "total_tokens")


def to_response(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a response; it always names the format of its text, also when it is plain text."""
    found = {**_NULLABLE, **without_nulls(body), "model": model}
    found["output"] = [_to_item(item) for item in found["output"]]
    found["tools"] = [_to_tool(tool) for tool in found["tools"]]
    found["text"] = _to_text(found.get("text", {}))
    if "reasoning" in found:
        found["reasoning"] = without_nulls(found["reasoning"])
    if "usage" in found:
        found["usage"] = _to_usage(found["usage"])
    return found


def events(model: str, asked: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """Return the function that converts each event of one stream."""

    def convert(raw: bytes) -> bytes:
        start = raw.find(b"{")
        if raw.startswith(_AS_THEY_ARE) or start < 0:
            return raw
        event = _to_event(orjson.loads(raw[start:]), model)
        name = str(event["type"]).encode()
        return b"event: " + name + b"\ndata: " + orjson.dumps(event) + b"\n\n"

    return convert


def _to_event(event: dict[str, Any], model: str) -> dict[str, Any]:
    if "response" in event:
        event["response"] = to_response(event["response"], model)
        # vLLM ends a stream with "completed" even when the status says that it was cut off.
        if event["response"].get("status") == "incomplete":
            event["type"] = "response.incomplete"
    elif "item" in event:
        event["item"] = _to_item(event["item"])
    elif "part" in event:
        event["part"] = _to_part(event["part"])
    return event


def _to_item(item: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(item)
    if found["type"] == "message":
        found["content"] = [_to_part(part) for part in found["content"]]
    return found


def _to_part(part: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(part)
    if found["type"] == "output_text":
        found = {"annotations": [], "logprobs": [], **found}
    return found


def _to_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(tool)
    if found["type"] == "function":
        found = {"parameters": None, "strict": None, **found}
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
