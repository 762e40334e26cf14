"""Adapter names in paths: a name is one segment, with ``%2F`` for the slash of ``team/name``."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

_SLASH = "%2F"

RESERVED = {"check": "a route of this API"}
"""Names that no adapter may have, because ``/v1/adapters/{name}`` is another route with them.

Each has what it means already, for the error message.
"""


class AdapterRoute(APIRoute):
    """A route that keeps ``%2F`` inside a segment, although servers decode it before routing."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the path matches as the client wrote it."""
        raw = scope.get("raw_path")
        if not raw:
            return super().matches(scope)
        segments = raw.decode("ascii", "replace").split("/")
        path = "/".join(unquote(segment).replace("/", _SLASH) for segment in segments)
        return super().matches({**scope, "path": path})


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name.replace(_SLASH, "/")


NameDep = Annotated[str, Depends(_name)]
"""The name of the adapter in the path, with its slash."""
