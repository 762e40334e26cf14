"""Keys: make one, see all, revoke one. The text of a new key is shown once."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi.responses import RedirectResponse, Response

from veneer_server.api.admin.bodies import parse
from veneer_server.api.admin.making import KeyBody, make
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.noting.auditing import audited
from veneer_server.console.forms import read_form, text_of
from veneer_server.console.frame import Visit, is_keyless, terminal
from veneer_server.console.terminal import Equal
from veneer_server.tenancy.scopes import DEFAULT_SCOPES, Scope

MOST_KEYS = 500
_DAY_S = 86_400
_MOST_DIGITS = 9
_LIMITS = ("rpm", "tpm", "concurrency")


async def show(visit: Visit) -> Response:
    """Return the page with all keys."""
    return _page(visit, None, None)


async def create(visit: Visit) -> Response:
    """Make a key, and return the page that shows its text, which no other page does.

    Raises:
        InvalidRequest: a field has an impossible value.
        NobodyLeft: it would be the first key, and it could not make further ones.
    """
    form = await read_form(visit.request)
    key, text = await make(visit.request, visit.server, parse(KeyBody, to_body(form)))
    return _page(visit, text, key.id)


async def revoke(visit: Visit) -> Response:
    """Make a key useless.

    Raises:
        KeyNotFound: there is no such key.
        NobodyLeft: without it nobody could make keys any more.
    """
    key_id = text_of(await read_form(visit.request), "id")
    async with audited(visit.request, visit.server, "key.revoke", key_id[:100]):
        await visit.server.keyring.revoke(key_id)
    return RedirectResponse(f"{visit.root}/keys", 303)


def to_body(form: Mapping[str, str]) -> dict[str, Any]:
    """Return what a form asks for, as the body of ``POST /v1/keys``.

    Raises:
        InvalidRequest: what should be a number is none.
    """
    body: dict[str, Any] = {"name": form.get("name", "").strip()}
    body["tenant"] = form.get("tenant", "").strip() or None
    body["scopes"] = [str(scope) for scope in Scope if form.get(f"scope-{scope}") == "1"] or None
    body["adapters"] = form.get("adapters", "").split() or None
    body |= {name: _number(form, name) for name in _LIMITS}
    days = _number(form, "days")
    body["expires_in_s"] = None if days is None else days * _DAY_S
    return body


def _page(visit: Visit, text: str | None, made: str | None) -> Response:
    every = visit.server.keyring.every()
    url = visit.request.url
    return visit.show(
        "keys.html",
        keys=every[:MOST_KEYS],
        in_all=len(every),
        text=text,
        made=made,
        scopes=tuple(Scope),
        usual=DEFAULT_SCOPES,
        is_first=is_keyless(visit.server),
        api=f"{url.scheme}://{url.netloc}/v1/keys",
        revoking={key.id: _revoking(visit, key.id) for key in every[:MOST_KEYS]},
        now_s=time.time(),
    )


def _revoking(visit: Visit, key_id: str) -> Equal:
    line = terminal(visit).curl("DELETE", f"/v1/keys/{key_id}")
    return Equal(line, f"veneer keys revoke {key_id}")


def _number(form: Mapping[str, str], name: str) -> int | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise InvalidRequest(f"'{name}' must be a number.", param=name)
    return int(text)
