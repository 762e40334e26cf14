"""Adapter names in paths: a name is one segment, with ``%2F`` for the slash of ``team/name``.

What a key may not see does not exist for it, on every route.
"""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from veneer_server.api.deps import PrincipalDep, ServerDep

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


def _name(request: Request, server: ServerDep, who: PrincipalDep) -> str:
    name: str = request.path_params["name"].replace(_SLASH, "/")
    server.adapters.require(name, who.sees)
    return name


NameDep = Annotated[str, Depends(_name)]
"""The name of the adapter in the path, with its slash; it exists for the client."""


def _new_name(request: Request, who: PrincipalDep) -> str:
    name: str = request.path_params["name"].replace(_SLASH, "/")
    who.require_owner(name)
    return name


NewNameDep = Annotated[str, Depends(_new_name)]
"""A name that the client may publish under, whether there is such an adapter or not."""


def _own_name(name: NameDep, who: PrincipalDep) -> str:
    who.require_owner(name)
    return name


OwnNameDep = Annotated[str, Depends(_own_name)]
"""A name that the client may also change."""
