"""The tables of members as JSON schemas of the bodies, for the API's own document. Pure."""

from collections.abc import Mapping
from typing import Any

from veneer_server.api.official.members.base import Kind, Table
from veneer_server.api.official.members.tables import TABLES
from veneer_server.engine.base import Endpoint

_TYPES: Mapping[str, Any] = {
    "input": {"type": ["string", "array"]},
    "max_tokens": {"type": "integer", "minimum": 0},
    "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
    "model": {"type": "string"},
    "prompt": {"type": ["string", "array"]},
    "stream": {"type": "boolean"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "tokens": {"type": "array", "items": {"type": "integer"}},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
}
"""Types of the most common members; the documents of OpenAI and Anthropic have them all."""
_REQUIRED: Mapping[Endpoint, list[str]] = {
    Endpoint.CHAT: ["messages"],
    Endpoint.COMPLETIONS: ["prompt"],
    Endpoint.RESPONSES: ["input"],
    Endpoint.MESSAGES: ["messages", "max_tokens"],
    Endpoint.COUNT_TOKENS: ["messages"],
    Endpoint.TOKENIZE: [],
    Endpoint.DETOKENIZE: ["tokens"],
}


def body_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the schema of a body of ``endpoint``."""
    table, required = TABLES[endpoint], _REQUIRED[endpoint]
    members = {
        name: _member(table, name, required=name in required) for name in table if "." not in name
    }
    return {"type": "object", "required": required, "properties": members}


def _member(table: Table, name: str, *, required: bool) -> dict[str, Any]:
    found, shape = table[name], dict(_TYPES.get(name, {}))
    if shape and not required:
        kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
        shape["type"] = [*kinds, "null"]  # a member that is null is as good as absent
    if found.kind is not Kind.HONOURED:
        shape["description"] = f"{found.kind.capitalize()}. {found.note}"
    return shape
