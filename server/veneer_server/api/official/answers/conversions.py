"""The conversion of each endpoint's answers to the official shape. Pure functions."""

from collections.abc import Callable, Mapping
from typing import Any

from veneer_server.api.official.answers import chat, messages, response_events
from veneer_server.api.official.answers.nulls import without_nulls
from veneer_server.api.official.answers.responses import NOTHING, to_response
from veneer_server.engine.base import Endpoint

_DOCUMENTS: dict[Endpoint, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    Endpoint.CHAT: chat.to_chat,
    Endpoint.COMPLETIONS: chat.to_completion,
    Endpoint.MESSAGES: messages.to_message,
}
_STREAMS: dict[Endpoint, Callable[[str, Mapping[str, Any]], Callable[[bytes], bytes]]] = {
    Endpoint.CHAT: chat.chunks,
    Endpoint.COMPLETIONS: chat.chunks,
    Endpoint.RESPONSES: response_events.events,
    Endpoint.MESSAGES: messages.events,
}


def to_document(
    endpoint: Endpoint, body: dict[str, Any], model: str, asked: Mapping[str, Any] = NOTHING
) -> dict[str, Any]:
    """Return the engine's ``body``, which answers ``asked``, in the official shape.

    ``model`` is the name in it.
    """
    if endpoint is Endpoint.RESPONSES:
        return to_response(body, model, asked)
    if endpoint in _DOCUMENTS:
        return _DOCUMENTS[endpoint](body, model)
    # An answer with tokens, or with their number, names no model.
    return without_nulls(body)


def to_events(
    endpoint: Endpoint, *, model: str, asked: Mapping[str, Any]
) -> Callable[[bytes], bytes]:
    """Return the function that converts each event of the stream that answers ``asked``."""
    return _STREAMS[endpoint](model, asked)
