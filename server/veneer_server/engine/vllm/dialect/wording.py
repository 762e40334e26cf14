"""vLLM's messages without advice for whoever starts vLLM: a client can set no flag of a server."""

import re
from collections.abc import Iterable

_SETTING = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+|\bVLLM_[A-Z_0-9]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"])")
_KNOWN: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile("thinking_token_budget is set"),
        "This model does not think before it answers, so it takes no budget for that.",
    ),
    (
        re.compile("enable-auto-tool-choice|tool-call-parser"),
        "This server does not know how this model writes tool calls, so it takes no tools.",
    ),
    (
        re.compile("must provide a chat template"),
        "This model has no chat template, so it takes no messages; ask it at /v1/completions.",
    ),
    (re.compile("enable-(prompt|mm)-embeds"), "This server takes no embeddings in a prompt."),
)
"""What some messages mean, when all that they say is which flag is missing."""
_INSIDE = re.compile(r":? \{'.*\}\.?$", re.DOTALL)
"""An object of vLLM's at the end of a message, as Python writes it."""
_NOTHING_LEFT = "This server is not set up for what the request asks for."


def for_clients(message: str) -> str:
    """Return ``message`` without the sentences that name a flag or a variable of vLLM's.

    Objects of vLLM's, as Python writes them, are left out too.
    """
    message = _INSIDE.sub(".", message)
    known = next((said for pattern, said in _KNOWN if pattern.search(message)), None)
    if known is not None:
        return known
    if _SETTING.search(message) is None:
        return message
    return " ".join(_without_settings(_SENTENCE.split(message))) or _NOTHING_LEFT


def _without_settings(sentences: Iterable[str]) -> list[str]:
    return [sentence for sentence in sentences if _SETTING.search(sentence) is None]
