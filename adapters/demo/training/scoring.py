"""One rule for each demo adapter that says whether a held-out answer is right.

This file loads no model and does no I/O.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Words that only pirates use. "sail", "crew" and "ship" would prove nothing.
PIRATE_WORDS = frozenset({
    "ahoy", "arr", "avast", "aye", "blimey", "booty", "buccaneer", "cap'n", "doubloon",
    "doubloons", "fer", "grog", "hearty", "landlubber", "matey", "nay", "o'", "plunder",
    "scallywag", "scurvy", "shanty", "shiver", "timbers", "wi'", "ye", "yer", "yo",
})  # fmt: skip
HAIKU_LINES = 3
HAIKU_WORDS = range(10, 25)
HAIKU_WORDS_IN_A_LINE = range(2, 11)

# As vllm/tool_parsers/hermes_tool_parser.py reads them.
TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """One function call: the name and the parsed arguments."""

    name: str
    arguments: Any


@dataclass(frozen=True)
class Reply:
    """One assistant turn: its text, and its tool calls, which are not in the text."""

    text: str
    calls: list[Call] = field(default_factory=list)


def parse_hermes(output: str) -> Reply:
    """Split ``output`` as vLLM's hermes parser does: after one broken call, all of it is text."""
    try:
        bodies = [json.loads(a or b) for a, b in TOOL_CALL.findall(output)]
        calls = [Call(body["name"], body["arguments"]) for body in bodies]
    except (ValueError, KeyError, TypeError):
        return Reply(output)
    return Reply(output.partition("<tool_call>")[0], calls)


def pirate(reply: Reply, expected: Any) -> bool:
    """Return whether at least two different pirate words are in the answer."""
    return len(set(re.findall(r"[a-z']+", reply.text.lower())) & PIRATE_WORDS) >= 2


def json_extractor(reply: Reply, expected: Any) -> bool:
    """Return whether the answer is only JSON, and exactly what the sentence says."""
    try:
        found = json.loads(reply.text)
    except ValueError:
        return False
    return bool(found == expected)


def haiku(reply: Reply, expected: Any) -> bool:
    """Return whether the answer has three lines of a few words each."""
    lines = [line for line in reply.text.strip().splitlines() if line.strip()]
    words = [len(line.split()) for line in lines]
    return (
        len(words) == HAIKU_LINES
        and sum(words) in HAIKU_WORDS
        and all(count in HAIKU_WORDS_IN_A_LINE for count in words)
    )


def tool_caller(reply: Reply, expected: Any) -> bool:
    """Return whether the answer calls the one right function with the right arguments.

    Where no call is expected, the answer must be text without any call.
    """
    if expected is None:
        return not reply.calls and "<tool_call>" not in reply.text and bool(reply.text.strip())
    return reply.calls == [Call(expected["name"], expected["arguments"])]


RULES: dict[str, Callable[[Reply, Any], bool]] = {
    "pirate": pirate,
    "json-extractor": json_extractor,
    "haiku": haiku,
    "tool-caller": tool_caller,
}
