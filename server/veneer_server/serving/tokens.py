"""Which parts of an answer carry tokens, and how many the engine counted. Pure.

An event is judged by a few of its bytes: a quotation mark inside a text is escaped, so an
unescaped ``"usage":{`` is the member and never what somebody wrote. Only an event that has
it is parsed, one of a stream as a rule.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from veneer_server.engine.base import Endpoint

_ASKS_FOR_USAGE = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
"""Elsewhere a stream ends with its usage unasked."""
_USAGE, _USAGE_ONLY = b'"usage":{', b'"choices":[]'


class Usage(NamedTuple):
    """Tokens of one request."""

    input: int
    output: int


def with_usage(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return ``body`` asking for the usage of a stream, and whether to hide it from the client."""
    options = body.get("stream_options") or {}
    if endpoint not in _ASKS_FOR_USAGE or not body.get("stream") or not isinstance(options, dict):
        return body, False
    asking = {**body, "stream_options": {**options, "include_usage": True}}
    return asking, not options.get("include_usage")


def token_test(endpoint: Endpoint) -> Callable[[bytes], bool]:
    """Return what tells whether an event brings the client something the model wrote."""
    return _TESTS.get(endpoint, lambda frame: False)


_TESTS: dict[Endpoint, Callable[[bytes], bool]] = {
    Endpoint.CHAT: lambda frame: b'"delta":{' in frame and b'"role":' not in frame,
    Endpoint.COMPLETIONS: lambda frame: b'"text":' in frame,
    Endpoint.RESPONSES: lambda frame: b".delta\n" in frame[:80],
    Endpoint.MESSAGES: lambda frame: frame.startswith(b"event: content_block_delta\n"),
}


def is_usage_only(frame: bytes) -> bool:
    """Return whether an event that carries counts carries nothing else."""
    return _USAGE_ONLY in frame


def usage_of_frame(frame: bytes) -> Usage | None:
    """Return the counts an event carries, if it carries any."""
    if _USAGE not in frame:
        return None
    return usage_of(orjson.loads(frame[frame.index(b"{") :]))


def usage_of(body: Mapping[str, Any]) -> Usage | None:
    """Return the counts of a document, or of the document inside an event."""
    for holder in (body, body.get("response"), body.get("message")):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            read = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
            return Usage(read, usage.get("completion_tokens") or usage.get("output_tokens") or 0)
    return None
