"""What an answer must fit, in the words of other servers, as vLLM's ``structured_outputs``."""

from collections.abc import Callable
from typing import Any

import orjson

from veneer_server.api.errors import InvalidRequest

_TAKEN = ("structured_outputs", "response_format", "text")


def to(name: str, kind: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that makes the member ``name`` a constraint of ``kind``."""

    def translate(body: dict[str, Any]) -> dict[str, Any]:
        value = body[name]
        if kind == "json" and isinstance(value, str):
            value = _parsed(name, value)
        return _constrained(body, name, {kind: value})

    return translate


def format_of_ollama(body: dict[str, Any]) -> dict[str, Any]:
    """Make Ollama's ``format`` a constraint: ``"json"`` is any object, an object is a schema."""
    value = body["format"]
    if value == "json":
        return _constrained(body, "format", {"json_object": True})
    if isinstance(value, dict):
        return _constrained(body, "format", {"json": value})
    raise InvalidRequest("'format' must be \"json\" or a JSON schema.", param="format")


def _constrained(body: dict[str, Any], name: str, constraint: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in body.items() if key != name}
    if any(_constrains(rest, taken) for taken in _TAKEN):
        raise InvalidRequest(
            f"Invalid '{name}': the request has another field that says what the answer must fit;"
            " leave one of them out.",
            param=name,
        )
    return {**rest, "structured_outputs": constraint}


def _constrains(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if name == "structured_outputs" or not isinstance(value, dict):
        return value is not None
    inner = value.get("format", {}) if name == "text" else value
    return not isinstance(inner, dict) or inner.get("type", "text") != "text"


def _parsed(name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"Invalid '{name}': it must be a JSON schema, or one as a text.", param=name
        ) from error
