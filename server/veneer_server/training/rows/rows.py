"""The three kinds of rows there are, and how a JSON object becomes one. Pure functions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from veneer_server.training.rows.faults import InvalidRow
from veneer_server.training.rows.members import an_object, refuse_unknown, text
from veneer_server.training.rows.messages import Message, read_messages, require_answers
from veneer_server.training.rows.tools import names_of, read_tools

_CHAT = ("messages", "tools", "parallel_tool_calls")
_INPUT = ("messages", "tools", "parallel_tool_calls")
_PREFERRED = ("preferred_output", "preferred_completion")
_OTHER = ("non_preferred_output", "non_preferred_completion")
"""OpenAI's member today, and the one that its specification of March 2025 had."""


class Method(StrEnum):
    """What is learned from: answers, or which of two answers is better."""

    SUPERVISED = "supervised"
    DPO = "dpo"


@dataclass(frozen=True, slots=True)
class ChatRow:
    """A conversation; its assistant messages are learned, unless their weight is 0."""

    messages: list[Message]
    tools: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A text and how it goes on."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A conversation and two ways to go on, of which the first is better."""

    messages: list[Message]
    tools: list[dict[str, Any]]
    preferred: list[Message]
    other: list[Message]


Row = ChatRow | CompletionRow | PreferenceRow


def read_row(found: dict[str, Any], method: Method) -> Row:
    """Return the row that ``found`` is.

    Raises:
        InvalidRow: it is none that ``method`` can learn from.
    """
    if method is Method.DPO:
        return _read_preference(found)
    if "messages" in found:
        return _read_chat(found)
    if "prompt" in found or "completion" in found:
        return _read_completion(found)
    if "input" in found:
        raise InvalidRow("it is a row for the method 'dpo', and the method is 'supervised'")
    raise InvalidRow("it has no 'messages', and no 'prompt' and 'completion'")


def _read_chat(found: dict[str, Any]) -> ChatRow:
    refuse_unknown(found, _CHAT, "")
    tools = read_tools(found.get("tools"))
    parallel = _read_parallel(found, tools)
    offered = names_of(tools)
    messages = read_messages(found["messages"], "messages", offered=offered, parallel=parallel)
    require_answers(messages, "messages")
    return ChatRow(messages, tools)


def _read_completion(found: dict[str, Any]) -> CompletionRow:
    refuse_unknown(found, ("prompt", "completion"), "")
    completion = text(found.get("completion"), "completion")
    if not completion:
        raise InvalidRow("'completion' is empty, so there is nothing to learn")
    return CompletionRow(text(found.get("prompt"), "prompt"), completion)


def _read_preference(found: dict[str, Any]) -> PreferenceRow:
    if "input" not in found:
        raise InvalidRow("it has no 'input'; the method 'dpo' needs it")
    refuse_unknown(found, ("input", *_PREFERRED, *_OTHER), "")
    given = an_object(found["input"], "input")
    refuse_unknown(given, _INPUT, "input")
    tools = read_tools(given.get("tools"))
    parallel, offered = _read_parallel(given, tools), names_of(tools)
    messages = read_messages(
        given.get("messages"), "input.messages", offered=offered, parallel=parallel
    )
    outputs = [
        _read_output(found, names, offered, parallel=parallel) for names in (_PREFERRED, _OTHER)
    ]
    if outputs[0] == outputs[1]:
        raise InvalidRow("both outputs are the same, so there is nothing to learn")
    return PreferenceRow(messages, tools, *outputs)


def _read_output(
    found: dict[str, Any], names: tuple[str, ...], offered: frozenset[str], *, parallel: bool
) -> list[Message]:
    given = [name for name in names if name in found]
    if len(given) != 1:
        raise InvalidRow(f"it must have '{names[0]}' once")
    output = read_messages(found[given[0]], given[0], offered=offered, parallel=parallel)
    if len(output) != 1 or output[0]["role"] != "assistant":
        raise InvalidRow(f"'{given[0]}' must be one message with the role 'assistant'")
    if "weight" in output[0]:
        raise InvalidRow(f"'{given[0]}' has a weight; only the method 'supervised' knows weights")
    return output


def _read_parallel(found: dict[str, Any], tools: list[dict[str, Any]]) -> bool:
    parallel = found.get("parallel_tool_calls", True)
    if type(parallel) is not bool:
        raise InvalidRow("'parallel_tool_calls' must be true or false")
    if "parallel_tool_calls" in found and not tools:
        raise InvalidRow("it has 'parallel_tool_calls', but no 'tools'")
    return parallel
