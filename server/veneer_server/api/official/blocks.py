"""Blocks and tools of Anthropic's messages that the engine would refuse oddly, or leave out. Pure.

Source: ``InputContentBlock`` of Anthropic's OpenAPI document, and vLLM's ``AnthropicContentBlock``.
"""

from collections.abc import Mapping
from typing import Any

from veneer_server.api.errors import UnsupportedParameter
from veneer_server.engine.base import Endpoint

_ANTHROPIC = frozenset({Endpoint.MESSAGES, Endpoint.COUNT_TOKENS})
_READABLE = frozenset(
    {
        "image",
        "redacted_thinking",
        "text",
        "thinking",
        "tool_addition",
        "tool_reference",
        "tool_removal",
        "tool_result",
        "tool_use",
    }
)
_IN_RESULTS = frozenset({"image", "text", "tool_reference"})
"""What vLLM reads in a ``tool_result``; it leaves everything else out, without a word."""
_OWN_TOOLS = frozenset({"custom", "function"})


def refuse_unreadable(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Return if the engine reads every block and tool; what is malformed is left to it.

    Raises:
        UnsupportedParameter: it does not; the message says which, and what to write instead.
    """
    if endpoint not in _ANTHROPIC:
        return
    for index, message in enumerate(_list(body.get("messages"))):
        for number, block in enumerate(_list(_member(message, "content"))):
            _check_block(f"messages[{index}].content[{number}]", block)
    for index, tool in enumerate(_list(body.get("tools"))):
        kind = _member(tool, "type")
        if isinstance(kind, str) and kind not in _OWN_TOOLS:
            _refuse(
                f"tools[{index}].type",
                f"this server has no tool of the type '{_short(kind)}';"
                " describe your own with 'input_schema'",
            )


def _check_block(path: str, block: Any) -> None:
    kind = _member(block, "type")
    if isinstance(kind, str) and kind not in _READABLE:
        _refuse_block(path, kind)
    if kind != "tool_result":
        return
    for number, part in enumerate(_list(_member(block, "content"))):
        inner = _member(part, "type")
        if isinstance(inner, str) and inner not in _IN_RESULTS:
            _refuse_block(f"{path}.content[{number}]", inner)


def _refuse_block(path: str, kind: str) -> None:
    _refuse(
        f"{path}.type",
        f"this server does not read blocks of the type '{_short(kind)}';"
        " send what they say as a block of the type 'text'",
    )


def _refuse(path: str, why: str) -> None:
    raise UnsupportedParameter(f"Unsupported value of '{path}': {why}.", param=path)


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _member(found: Any, name: str) -> Any:
    return found.get(name) if isinstance(found, Mapping) else None


def _short(text: str) -> str:
    return text if len(text) <= 50 else f"{text[:50]}..."
