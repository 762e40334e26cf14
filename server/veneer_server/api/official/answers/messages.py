"""Messages and their events in Anthropic's shape. Pure.

Source: ``Message`` and ``MessageStreamEvent`` of Anthropic's OpenAPI document, where most
members are required and may be null.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from veneer_server.api.official.answers.nulls import without_nulls

_CHANGED = (
    b"event: message_start\n",
    b"event: message_delta\n",
    b"event: content_block_start\n",
)
"""Events that must change. vLLM writes all others in the official shape, also those per token."""
_MESSAGE = {"stop_reason": None, "stop_sequence": None, "stop_details": None, "container": None}
_DELTA_USAGE = {
    "cache_creation_input_tokens": None,
    "cache_read_input_tokens": None,
    "input_tokens": None,
    "output_tokens_details": None,
    "server_tool_use": None,
}
_USAGE = {**_DELTA_USAGE, "cache_creation": None, "inference_geo": None, "service_tier": None}
_BLOCKS: dict[str, dict[str, Any]] = {
    "text": {"citations": []},  # null is as official, but @ai-sdk/anthropic 3 refuses it
    "tool_use": {"caller": {"type": "direct"}},
}
"""Members that vLLM's blocks lack, by the type of the block."""


def to_message(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a message; its id begins with ``msg_``, as Anthropic's ids do."""
    found = {**_MESSAGE, **without_nulls(body), "model": model}
    found["id"] = "msg_" + str(found["id"]).removeprefix("chatcmpl-")
    found["content"] = [_to_block(block) for block in found["content"]]
    found["usage"] = {**_USAGE, **without_nulls(found["usage"])}
    return found


def events(model: str, asked: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """Return the function that converts each event of one stream."""

    def convert(raw: bytes) -> bytes:
        if not raw.startswith(_CHANGED):
            return raw
        start = raw.index(b"{")
        event = _to_event(orjson.loads(raw[start:]), model)
        return raw[:start] + orjson.dumps(event) + b"\n\n"

    return convert


def _to_event(event: dict[str, Any], model: str) -> dict[str, Any]:
    if "message" in event:
        event["message"] = to_message(event["message"], model)
    elif "content_block" in event:
        event["content_block"] = _to_block(event["content_block"])
    else:
        event["delta"] = {**_MESSAGE, **event["delta"]}
        event["usage"] = {**_DELTA_USAGE, **without_nulls(event["usage"])}
    return event


def _to_block(block: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(block)
    return {**_BLOCKS.get(found["type"], {}), **found}
