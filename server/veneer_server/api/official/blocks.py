"""Blocks, parts and tools of messages that the engine would refuse oddly, or leave out. Pure.

Source: ``InputContentBlock`` of Anthropic's OpenAPI document, and vLLM's ``AnthropicContentBlock``;
of a chat's parts vLLM's ``MM_PARSER_MAP``.
"""

from collections.abc import Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest, UnsupportedParameter
from veneer_server.engine.base import Endpoint

_ANTHROPIC = frozenset({Endpoint.MESSAGES, Endpoint.COUNT_TOKENS})
_UNREAD_INPUTS = frozenset({"computer_screenshot", "input_audio", "input_file", "input_video"})
"""Official parts of a Responses item that the engine knows only to refuse."""
_CHATS = frozenset({Endpoint.CHAT, Endpoint.TOKENIZE})
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
_TEXTS_IN_RESULTS = ("text", "name", "tool_name")
_TEXTS_IN_SOURCES = ("type", "url", "data", "media_type")
"""Members that vLLM takes for texts without a look: it checks only what is outside of results."""
_OWN_TOOLS = frozenset({"custom", "function"})
CHAT_PARTS: Mapping[str, str | None] = {
    "audio_embeds": None,
    "audio_url": "audio_url",
    "image_embeds": None,
    "image_pil": None,
    "image_url": "image_url",
    "input_audio": "input_audio",
    "input_image": "image_url",
    "input_text": "text",
    "output_text": "text",
    "prompt_embeds": None,
    "refusal": "refusal",
    "text": "text",
    "thinking": "thinking",
    "tool_reference": "name",
    "video_embeds": None,
    "video_url": "video_url",
}
"""The parts of a chat's message that vLLM knows, and the member that each must have."""


def refuse_unreadable(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Return if the engine reads every block, part and tool; most of their faults are left to it.

    Raises:
        UnsupportedParameter: it does not; the message says which, and what to write instead.
        InvalidRequest: a part of a chat has not what its type says that it is.
    """
    if endpoint in _CHATS:
        _check_parts(body.get("messages"))
    if endpoint is Endpoint.RESPONSES:
        _check_items(body.get("input"))
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


def _check_items(items: Any) -> None:
    for index, item in enumerate(_list(items)):
        for member in ("content", "output"):
            for number, part in enumerate(_list(_member(item, member))):
                if (kind := _member(part, "type")) in _UNREAD_INPUTS:
                    path = f"input[{index}].{member}[{number}]"
                    _refuse_block(path, kind, "part", "input_text")


def _check_parts(messages: Any) -> None:
    for index, message in enumerate(_list(messages)):
        for number, part in enumerate(_list(_member(message, "content"))):
            if isinstance(kind := _member(part, "type"), str):
                _check_part(f"messages[{index}].content[{number}]", part, kind)


def _check_part(path: str, part: Mapping[str, Any], kind: str) -> None:
    if kind not in CHAT_PARTS:
        _refuse_block(path, kind, "part")
    member = CHAT_PARTS[kind]
    if member is None or part.get("uuid") is not None:  # it stands for one that was sent before
        return
    value = part.get(member)
    if isinstance(value, Mapping) and member.endswith("_url"):
        member, value = f"{member}.url", value.get("url")
    if value is None:
        param = f"{path}.{member}"
        raise InvalidRequest(f"Missing required parameter: '{param}'.", param=param)


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
        if isinstance(part, Mapping):
            if not isinstance(inner, str):  # the engine would leave it out
                _refuse_type(f"{path}.content[{number}].type", "a string")
            _check_result_part(f"{path}.content[{number}]", part)


def _check_result_part(path: str, part: Mapping[str, Any]) -> None:
    _require_texts(path, part, _TEXTS_IN_RESULTS)
    if part.get("type") == "image":
        source = part.get("source", {})
        if not isinstance(source, Mapping):
            _refuse_type(f"{path}.source", "an object")
        _require_texts(f"{path}.source", source, _TEXTS_IN_SOURCES)


def _require_texts(path: str, found: Mapping[str, Any], members: tuple[str, ...]) -> None:
    for member in members:
        if not isinstance(found.get(member, ""), str):
            _refuse_type(f"{path}.{member}", "a string")


def _refuse_type(path: str, wanted: str) -> None:
    raise InvalidRequest(f"Invalid type for '{path}': expected {wanted}.", param=path)


def _refuse_block(path: str, kind: str, called: str = "block", text: str = "text") -> None:
    _refuse(
        f"{path}.type",
        f"this server does not read {called}s of the type '{_short(kind)}';"
        f" send what they say as a {called} of the type '{text}'",
    )


def _refuse(path: str, why: str) -> None:
    raise UnsupportedParameter(f"Unsupported value of '{path}': {why}.", param=path)


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _member(found: Any, name: str) -> Any:
    return found.get(name) if isinstance(found, Mapping) else None


def _short(text: str) -> str:
    return text if len(text) <= 50 else f"{text[:50]}..."
