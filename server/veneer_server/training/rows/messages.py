"""The messages of a row: who speaks, in which order, and what counts. Pure functions."""

from collections.abc import Collection
from typing import Any

from veneer_server.training.rows.bounds import MOST_MESSAGES, MOST_PARTS
from veneer_server.training.rows.faults import InvalidRow
from veneer_server.training.rows.members import (
    an_object,
    array,
    listed,
    refuse_unknown,
    short,
    text,
)
from veneer_server.training.rows.tools import read_calls

Message = dict[str, Any]

_MEMBERS = {
    "system": ("role", "content", "name"),
    "developer": ("role", "content", "name"),
    "user": ("role", "content", "name"),
    "assistant": ("role", "content", "name", "weight", "tool_calls"),
    "tool": ("role", "content", "tool_call_id"),
}


def read_messages(
    found: Any, path: str, *, offered: Collection[str], parallel: bool = True
) -> list[Message]:
    """Return the messages at ``path``.

    ``offered`` are the functions that may be called, ``parallel`` whether several at once.

    Raises:
        InvalidRow: a role, a member or a text is wrong, or a tool answers no call.
    """
    messages = array(found, path, MOST_MESSAGES)
    called: set[str] = set()
    for index, message in enumerate(messages):
        _read_message(message, f"{path}[{index}]", offered, called, parallel=parallel)
    return messages


def require_answers(messages: list[Message], path: str) -> None:
    """Return if the last message is an answer, and at least one answer counts.

    Raises:
        InvalidRow: there is nothing to learn.
    """
    if messages[-1]["role"] != "assistant":
        raise InvalidRow(f"the last of '{path}' must have the role 'assistant'")
    if not any(weight_of(message) for message in messages if message["role"] == "assistant"):
        raise InvalidRow("every assistant message has weight 0, so there is nothing to learn")


def weight_of(message: Message) -> int:
    """Return 1 if an assistant message counts in the loss, else 0."""
    return int(message.get("weight", 1))


def _read_message(
    found: Any, path: str, offered: Collection[str], called: set[str], *, parallel: bool
) -> None:
    message = an_object(found, path)
    role = message.get("role")
    if not isinstance(role, str) or role not in _MEMBERS:
        raise InvalidRow(f"'{path}.role' is {short(role)}; it must be one of {listed(_MEMBERS)}")
    refuse_unknown(message, _MEMBERS[role], path)
    if "name" in message:
        text(message["name"], f"{path}.name")
    _read_content(message, path)
    if role == "assistant":
        _read_answer(message, path, offered, called, parallel=parallel)
    if role == "tool" and text(message.get("tool_call_id"), f"{path}.tool_call_id") not in called:
        raise InvalidRow(f"'{path}.tool_call_id' is the id of no earlier tool call")


def _read_answer(
    message: Message, path: str, offered: Collection[str], called: set[str], *, parallel: bool
) -> None:
    weight = message.get("weight", 1)
    if type(weight) is not int or weight not in (0, 1):
        raise InvalidRow(f"'{path}.weight' is {short(weight)}; it must be 0 or 1")
    if "tool_calls" not in message:
        return
    ids = read_calls(message["tool_calls"], f"{path}.tool_calls", offered)
    if len(ids) > 1 and not parallel:
        raise InvalidRow(f"'{path}' has several tool calls, and 'parallel_tool_calls' is false")
    called.update(ids)


def _read_content(message: Message, path: str) -> None:
    content = message.get("content")
    if content is None and message["role"] == "assistant" and "tool_calls" in message:
        return
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InvalidRow(f"'{path}.content' must be a text")
    for index, part in enumerate(array(content, f"{path}.content", MOST_PARTS)):
        _read_part(part, f"{path}.content[{index}]")


def _read_part(found: Any, path: str) -> None:
    part = an_object(found, path)
    if part.get("type") != "text":
        raise InvalidRow(f"'{path}.type' is {short(part.get('type'))}; only 'text' can be trained")
    refuse_unknown(part, ("type", "text"), path)
    text(part.get("text"), f"{path}.text")
