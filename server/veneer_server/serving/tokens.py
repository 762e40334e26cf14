"""Which events of an answer carry tokens, and how many tokens the engine counted. Pure functions.

These functions look only at a few bytes of an event. JSON escapes a quotation mark inside a text,
so an unescaped ``"usage":{`` is always the member and never a text of the model. Only an event
with this member is parsed: in most streams that is one event.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from veneer_server.engine.base import Endpoint

_ASKS_FOR_USAGE = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
"""Endpoints whose streams end with the usage only if the body asks for it; the others always do."""
_USAGE, _USAGE_ONLY = b'"usage":{', b'"choices":[]'
_CACHED = ("prompt_tokens_details", "input_tokens_details")
_BESIDE_INPUT = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Tokens of the prompt that Anthropic counts beside ``input_tokens``; OpenAI counts all in one."""


class Usage(NamedTuple):
    """How many tokens one request read and wrote."""

    input: int
    output: int
    cached: int = 0
    """Those of the input that came from the engine's cache."""


def with_usage(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return ``body``, changed so that a stream ends with its usage.

    The second value is True when the client did not ask for the usage, so that it must be hidden.
    """
    options = body.get("stream_options") or {}
    if endpoint not in _ASKS_FOR_USAGE or not body.get("stream") or not isinstance(options, dict):
        return body, False
    wanted = bool(options.get("include_usage"))
    asking = {**options, "include_usage": True}
    if not wanted:
        asking.pop("continuous_usage_stats", None)  # without include_usage it means nothing
    return {**body, "stream_options": asking}, not wanted


def token_test(endpoint: Endpoint) -> Callable[[bytes], bool]:
    """Return a function that says whether an event carries something that the model wrote."""
    return _TESTS.get(endpoint, lambda frame: False)


_TESTS: dict[Endpoint, Callable[[bytes], bool]] = {
    Endpoint.CHAT: lambda frame: b'"delta":{' in frame and b'"role":' not in frame,
    Endpoint.COMPLETIONS: lambda frame: b'"text":' in frame,
    Endpoint.RESPONSES: lambda frame: b".delta\n" in frame[:80],
    Endpoint.MESSAGES: lambda frame: frame.startswith(b"event: content_block_delta\n"),
}


def is_usage_only(frame: bytes) -> bool:
    """Return whether an event with usage carries nothing else."""
    return _USAGE_ONLY in frame


def usage_of_frame(frame: bytes) -> Usage | None:
    """Return the usage that an event carries, None when it carries none."""
    if _USAGE not in frame:
        return None
    return usage_of(orjson.loads(frame[frame.index(b"{") :]))


def usage_of(body: Mapping[str, Any]) -> Usage | None:
    """Return the usage of a document, or of the document inside an event; None without usage."""
    for holder in (body, body.get("response"), body.get("message")):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            read = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
            read += sum(usage.get(name) or 0 for name in _BESIDE_INPUT)
            written = usage.get("completion_tokens") or usage.get("output_tokens") or 0
            return Usage(read, written, _cached_of(usage))
    return None


def _cached_of(usage: Mapping[str, Any]) -> int:
    for name in _CACHED:
        if isinstance(details := usage.get(name), dict):
            return details.get("cached_tokens") or 0
    return usage.get("cache_read_input_tokens") or 0
