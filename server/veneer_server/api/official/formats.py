"""What a body must have besides what vLLM asks for: a role, a schema. Pure.

vLLM takes a format without a schema and fails on it later.
"""

from collections.abc import Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest
from veneer_server.engine.base import Endpoint

_FORMATS: Mapping[Endpoint, tuple[str, str]] = {
    Endpoint.CHAT: ("response_format", "json_schema.schema"),
    Endpoint.COMPLETIONS: ("response_format", "json_schema.schema"),
    Endpoint.RESPONSES: ("text.format", "schema"),
    Endpoint.MESSAGES: ("output_config.format", "schema"),
}
"""Where the format of an answer stands, and where its schema stands inside."""


def require_schema(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Return unless the format of the answer is ``json_schema`` and has no schema.

    Raises:
        InvalidRequest: it has none; the message says where it should be.
    """
    if endpoint not in _FORMATS:
        return
    place, inside = _FORMATS[endpoint]
    found = _at(body, place)
    if not isinstance(found, Mapping) or found.get("type") != "json_schema":
        return
    if _at(found, inside) is None:
        param = f"{place}.{inside}"
        raise InvalidRequest(f"Missing required parameter: '{param}'.", param=param)


def require_roles(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Return unless a message of a chat does not say whose it is.

    Raises:
        InvalidRequest: one does not; vLLM would name a member of another kind of message.
    """
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if endpoint is Endpoint.CHAT and isinstance(message, Mapping) and not message.get("role"):
            param = f"messages[{index}].role"
            raise InvalidRequest(f"Missing required parameter: '{param}'.", param=param)


def _at(body: Mapping[str, Any], path: str) -> Any:
    found: Any = body
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
