"""A tokenizer and a chat template for tests: a character is a token, and nothing is loaded."""

from collections.abc import Sequence
from typing import Any

END = "$"
"""Ends each message, and an answer."""


class LetterRenderer:
    """Writes ``role: text$`` for each message; functions first, as ``{name}``."""

    def __init__(self, *, writes_tools: bool = True, refuses: str = "") -> None:
        self.stops = [ord(END)]
        self._writes_tools = writes_tools
        self._refuses = refuses

    async def text(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, ask: bool
    ) -> str:
        if self._refuses and any(self._refuses in str(message) for message in messages):
            raise ValueError("no such thing")
        head = "".join(f"{{{each['function']['name']}}}" for each in tools)
        said = "".join(self._message(message) for message in messages)
        return (head if self._writes_tools else "") + said + ("assistant: " if ask else "")

    async def tokens(self, text: str, *, special: bool = False) -> list[int]:
        return ([1] if special else []) + [ord(letter) for letter in text]

    def _message(self, message: dict[str, Any]) -> str:
        assert "weight" not in message
        calls = [call["function"] for call in message.get("tool_calls", ())]
        called = "".join(f"<{call['name']}{call['arguments']}>" for call in calls)
        return f"{message['role']}: {message.get('content') or ''}{called}{END}\n"
