"""Adapter names in paths: one segment, in which the slash of ``team/name`` is ``%2F``."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

_SLASH = "%2F"

RESERVED = {"check": "a word of the adapter routes"}
"""Names that ``/v1/adapters/{name}`` could not tell from a route of its own."""


class AdapterRoute(APIRoute):
    """A route that sees ``%2F`` as part of a segment; servers decode it before routing."""

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
"""The adapter a path names."""
