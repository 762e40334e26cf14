"""The events of a streamed response in OpenAI's shape.

Source: ``ResponseStreamEvent`` of OpenAI's OpenAPI document.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from veneer_server.api.official.answers.responses import to_item, to_part, to_response

_AS_THEY_ARE = (
    b"event: response.output_text.delta\n",
    b"event: response.function_call_arguments.delta\n",
)
"""The most frequent events stay as they are: they name no model and have the official shape."""
_ITEM_DONE = b"event: response.output_item.done\n"
LAST_EVENTS = (
    b"event: response.completed\n",
    b"event: response.incomplete\n",
    b"event: response.failed\n",
)
"""How the events begin that end a stream; each has the whole response."""


def events(model: str, asked: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """Return the function that converts each event of one stream.

    An item that is done is held back until the next event, which says whether it was cut short.
    So a call returns no event, one, or two.
    """
    held: list[dict[str, Any]] = []

    def convert(raw: bytes) -> bytes:
        start = raw.find(b"{")
        if start < 0 or (not held and raw.startswith(_AS_THEY_ARE)):
            return raw
        event = _to_event(orjson.loads(raw[start:]), model, asked)
        before = b"".join(_to_frame(_ended(done, event)) for done in held)
        held.clear()
        if raw.startswith(_ITEM_DONE):
            held.append(event)
            return before
        return before + _to_frame(event)

    return convert


def whole(frames: bytes) -> dict[str, Any] | None:
    """Return the response in converted ``frames`` that end a stream, None in all others."""
    last = frames[frames.rfind(b"event: ") :]
    if not last.startswith(LAST_EVENTS):
        return None
    found: dict[str, Any] = orjson.loads(last[last.index(b"{") :])["response"]
    return found


def with_whole(frames: bytes, response: Mapping[str, Any]) -> bytes:
    """Return ``frames``, which end a stream, with ``response`` in the place of theirs."""
    at = frames.rfind(b"event: ")
    event = orjson.loads(frames[frames.index(b"{", at) :])
    return frames[:at] + _to_frame({**event, "response": response})


def to_last(response: Mapping[str, Any], sequence_number: int) -> bytes:
    """Return the event that ends the stream of a failed or cancelled ``response``."""
    kind = "response.failed"
    return _to_frame({"type": kind, "response": response, "sequence_number": sequence_number})


def _ended(done: dict[str, Any], following: Mapping[str, Any]) -> dict[str, Any]:
    if following["type"] == "response.incomplete":
        done["item"]["status"] = "incomplete"
    return done


def _to_frame(event: Mapping[str, Any]) -> bytes:
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def _to_event(event: dict[str, Any], model: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    if "response" in event:
        event["response"] = to_response(event["response"], model, asked)
        # vLLM ends a stream with "completed" even when the status says that it was cut off.
        if event["response"].get("status") == "incomplete":
            event["type"] = "response.incomplete"
    elif "item" in event:
        event["item"] = to_item(event["item"])
    elif "part" in event:
        event["part"] = to_part(event["part"])
    return event
