"""What somebody asks for who wants a key, and how it is made. Its text is shown once."""

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from veneer_server.api.admin.bodies import Body
from veneer_server.api.deps import Server
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.noting.auditing import audited
from veneer_server.settings import MOST
from veneer_server.tenancy.keys import Key, is_tenant
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.patterns import is_pattern
from veneer_server.tenancy.principals import default_patterns
from veneer_server.tenancy.scopes import DEFAULT_SCOPES, Scope

_Limit = Annotated[int, Field(ge=1, le=MOST)] | None
_LONGEST_S = 100 * 365 * 24 * 3600


class KeyBody(Body):
    """Body of ``POST /v1/keys``."""

    name: Annotated[str, Field(max_length=200)] = ""
    tenant: str | None = None
    scopes: Annotated[list[str], Field(min_length=1, max_length=len(Scope))] | None = None
    adapters: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=_LONGEST_S)] | None = None
    rpm: _Limit = None
    tpm: _Limit = None
    concurrency: _Limit = None


async def make(request: Request, server: Server, asked: KeyBody) -> tuple[Key, str]:
    """Make the key that somebody asks for; return it and its text, which nobody shows again.

    Raises:
        InvalidRequest: a value is impossible; the message names it.
        NobodyLeft: it would be the first key, and it could not make further ones.
        AdapterUnavailable: the database cannot be written; no key was made.
    """
    expires = None if asked.expires_in_s is None else int(time.time()) + asked.expires_in_s
    made: dict[str, Any] = {
        "tenant": _tenant(asked.tenant),
        "name": asked.name,
        "scopes": _scopes(asked.scopes),
        "patterns": _patterns(asked),
        "expires": expires,
    }
    limits = Limits(asked.rpm, asked.tpm, asked.concurrency)
    async with audited(request, server, "key.create", "", **made, limits=asdict(limits)) as change:
        key, text = await server.keyring.create(**made, limits=limits)
        change.object = key.id
    return key, text


def _tenant(name: str | None) -> str | None:
    if name is None or is_tenant(name):
        return name
    raise InvalidRequest(
        "'tenant' must be a name of at most 63 letters, digits, '.', '_' and '-', as the first part"
        " of team/name.",
        param="tenant",
    )


def _scopes(names: list[str] | None) -> tuple[Scope, ...]:
    if names is None:
        return DEFAULT_SCOPES
    unknown = [name for name in names if name not in set(Scope)]
    if unknown:
        raise InvalidRequest(
            f"There is no scope {unknown[0][:100]!r}; there are {', '.join(Scope)}.", param="scopes"
        )
    return tuple(Scope(name) for name in dict.fromkeys(names))


def _patterns(asked: KeyBody) -> tuple[str, ...] | None:
    if asked.adapters is None:
        return None if asked.tenant is None else default_patterns(asked.tenant)
    for text in asked.adapters:
        if not is_pattern(text):
            raise InvalidRequest(
                f"{text[:100]!r} cannot stand in 'adapters': use 'base', names, and patterns such"
                " as '*', 'team/*' and '*/*'.",
                param="adapters",
            )
    return tuple(dict.fromkeys(asked.adapters))
