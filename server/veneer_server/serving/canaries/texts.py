"""The texts of one answer, read from a document or from the events of a stream. No I/O."""

from collections.abc import Mapping
from typing import Any

import orjson

from veneer_server.engine.base import Endpoint

MOST_CHARS = 256 * 1024
_ENDS = (b"event: response.completed\n", b"event: response.incomplete\n")
"""The events that hold a whole response."""


class Texts:
    """The text of each choice of an answer, and whether a limit cut the answer off."""

    def __init__(self, endpoint: Endpoint, most_chars: int = MOST_CHARS) -> None:
        self._is_response = endpoint is Endpoint.RESPONSES
        self._room = most_chars
        self._parts: dict[int, list[str]] = {}
        self._other: set[int] = set()
        self.cut = False
        """Whether a limit on the tokens ended the answer."""

    def document(self, body: Mapping[str, Any]) -> None:
        """Read an answer in one piece."""
        if self._is_response:
            self._response(body)
            return
        for choice in body.get("choices") or ():
            self._choice(choice, choice.get("message") or choice.get("delta") or choice)

    def frame(self, frame: bytes) -> None:
        """Read one event of a stream."""
        at = frame.find(b"{")
        if at < 0 or (self._is_response and not frame.startswith(_ENDS)):
            return
        event = orjson.loads(frame[at:])
        self.document(event["response"] if self._is_response else event)

    def found(self) -> list[str]:
        """Return the text of each choice, in order; [] when they are longer than ``most_chars``.

        A choice that calls a tool, or refuses, is left out.
        """
        if self._room < 0:
            return []
        parts = sorted(self._parts.items())
        return ["".join(texts) for index, texts in parts if index not in self._other]

    def _choice(self, choice: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        index = choice.get("index") or 0
        self._add(index, said.get("content") or said.get("text") or "")
        if said.get("tool_calls") or said.get("refusal"):
            self._other.add(index)
        self.cut = self.cut or choice.get("finish_reason") == "length"

    def _response(self, body: Mapping[str, Any]) -> None:
        self.cut = body.get("status") == "incomplete"
        for item in body.get("output") or ():
            if item.get("type") == "function_call":
                self._other.add(0)
            for part in item.get("content") or () if item.get("type") == "message" else ():
                self._add(0, part.get("text") or "")

    def _add(self, index: int, text: str) -> None:
        self._room -= len(text)
        if self._room >= 0:
            self._parts.setdefault(index, []).append(text)
