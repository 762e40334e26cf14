"""The API as an OpenAPI document. Pure.

The framework writes paths, parameters and queries, and each route adds the body that it reads. The
errors, which have one shape everywhere, are added here.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from veneer_server import __version__

_SUMMARY = "Chat, completions, Responses and messages, with an adapter for each request."
_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "OpenAI's shape; for Anthropic's clients it is Anthropic's.",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type"]}},
}
_FAULTS = {
    "4XX": "The request cannot be answered; the message says why.",
    "5XX": "The server cannot answer now; the message says why.",
}


def describe(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``."""
    with warnings.catch_warnings():
        # A route that answers HEAD too has one function for both, and so one operation id.
        warnings.filterwarnings("ignore", message="Duplicate Operation ID")
        document = get_openapi(title="Veneer", version=__version__, summary=_SUMMARY, routes=routes)
    document.setdefault("components", {})["schemas"] = {"Error": _ERROR}
    for path, operations in document["paths"].items():
        operations.pop("head", None)
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {code: _fault(told) for code, told in _FAULTS.items()}
            _name_parts(path, operation)
    return document


def _name_parts(path: str, operation: dict[str, Any]) -> None:
    # Some routes read parts of their path themselves, so that a name may have a slash.
    given = operation.setdefault("parameters", [])
    for name in sorted(set(re.findall(r"{(\w+)}", path)) - {one["name"] for one in given}):
        part = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        given.append(part)


def _fault(told: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": told, "content": {"application/json": {"schema": schema}}}
