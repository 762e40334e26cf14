"""The conversion of each endpoint's answers to the official shape. Pure functions."""

from collections.abc import Callable, Mapping
from typing import Any

from veneer_server.api.official import chat, messages, responses
from veneer_server.api.official.nulls import without_nulls
from veneer_server.engine.base import Endpoint

_DOCUMENTS: dict[Endpoint, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    Endpoint.CHAT: chat.to_chat,
    Endpoint.COMPLETIONS: chat.to_completion,
    Endpoint.RESPONSES: responses.to_response,
    Endpoint.MESSAGES: messages.to_message,
}
_STREAMS: dict[Endpoint, Callable[[str, Mapping[str, Any]], Callable[[bytes], bytes]]] = {
    Endpoint.CHAT: chat.chunks,
    Endpoint.COMPLETIONS: chat.chunks,
    Endpoint.RESPONSES: responses.events,
    Endpoint.MESSAGES: messages.events,
}


def to_document(endpoint: Endpoint, body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the engine's ``body`` in the official shape; ``model`` is the name in it."""
    if endpoint in _DOCUMENTS:
        return _DOCUMENTS[endpoint](body, model)
    # An answer with tokens, or with their number, names no model.
    return without_nulls(body)


def to_events(
    endpoint: Endpoint, *, model: str, asked: Mapping[str, Any]
) -> Callable[[bytes], bytes]:
    """Return the function that converts each event of the stream that answers ``asked``."""
    return _STREAMS[endpoint](model, asked)
