"""Which conversion each endpoint's answers go through. Pure: a document in, a document out."""

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
    """Return the engine's ``body`` in the official shape, under the name the client asked for."""
    if endpoint in _DOCUMENTS:
        return _DOCUMENTS[endpoint](body, model)
    # Token counts and tokens name no model.
    return without_nulls(body)


def to_events(
    endpoint: Endpoint, *, model: str, asked: Mapping[str, Any]
) -> Callable[[bytes], bytes]:
    """Return the conversion for the events of one stream that answers the body ``asked``."""
    return _STREAMS[endpoint](model, asked)
