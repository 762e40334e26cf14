"""The echo engine's Responses, in vLLM's wire format."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from veneer_server.engine.base import Call, EngineError, Frames, RequestRejected


def read_input(body: Mapping[str, Any]) -> tuple[str, int]:
    """Return the text of the last item, and how many words all items and instructions have.

    Raises:
        RequestRejected: there is no item.
    """
    given, told = body.get("input"), body.get("instructions") or ""
    if isinstance(given, str):
        texts = [given]
    else:
        texts = [_text_of(item) for item in given] if isinstance(given, list) else []
    if not texts or not isinstance(told, str):
        raise RequestRejected("'input' must be a text or an array of items.", param="input")
    return texts[-1], sum(len(text.split()) for text in [*texts, told])


def _text_of(item: Any) -> str:
    if not isinstance(item, Mapping):
        raise RequestRejected("'input' must be a text or an array of items.", param="input")
    if item.get("type") == "item_reference":
        raise RequestRejected("The engine keeps no items.", param="input")
    content = item.get("content") or item.get("output") or item.get("arguments") or ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


class ResponseReply:
    """One response, as a document or as a stream."""

    def __init__(self, call: Call, words: Sequence[str], prompt_tokens: int, reason: str) -> None:
        self._body = call.body
        self._words = words
        self._cut = reason == "length"
        self._usage = {
            "input_tokens": prompt_tokens,
            "output_tokens": len(words),
            "total_tokens": prompt_tokens + len(words),
        }
        self._id = call.body.get("request_id") or f"resp_{call.request_id}"
        self._item_id = f"msg_{self._id.removeprefix('resp_')}"
        self._created = int(time.time())

    def document(self) -> dict[str, Any]:
        """Return the whole response."""
        status = "incomplete" if self._cut else "completed"
        details = {"reason": "max_output_tokens"} if self._cut else None
        return self._response(status, [self._item("completed")], details, self._usage)

    async def frames(self, fault: EngineError | None = None) -> Frames:
        """Yield the response as events, a word in each; raise ``fault`` half-way."""
        for number, event in enumerate(self._events(fault)):
            event["sequence_number"] = number
            yield f"event: {event['type']}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"

    def _events(self, fault: EngineError | None) -> Iterator[dict[str, Any]]:
        begun = self._response("in_progress", [], None, None)
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        item = {**self._item("in_progress"), "content": []}
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        yield {"type": "response.content_part.added", **place, "part": empty}
        for index, word in enumerate(self._words):
            if fault is not None and index == len(self._words) // 2:
                raise fault
            delta = word if index == 0 else f" {word}"
            yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}
        text = " ".join(self._words)
        done = self._item("completed")
        yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": {**empty, "text": text}}
        yield {"type": "response.output_item.done", "output_index": 0, "item": done}
        yield {"type": "response.completed", "response": self.document()}

    def _item(self, status: str) -> dict[str, Any]:
        part = {"type": "output_text", "text": " ".join(self._words), "annotations": []}
        item = {"id": self._item_id, "type": "message", "role": "assistant"}
        return {**item, "status": status, "content": [part]}

    def _response(self, status: str, output: list[Any], details: Any, usage: Any) -> dict[str, Any]:
        body = self._body
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": body["model"],
            "output": output,
            "incomplete_details": details,
            "usage": usage,
            "instructions": body.get("instructions"),
            "metadata": body.get("metadata"),
            "parallel_tool_calls": True,
            "temperature": body.get("temperature", 1.0),
            "top_p": body.get("top_p", 1.0),
            "tools": [],
            "user": body.get("user"),
        }
