"""What can be done with an adapter by a form. The API's routes do the same for programs."""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi.responses import RedirectResponse, Response

from veneer_adapters.names import LIVE
from veneer_server.api.admin.bodies import require_alias_name
from veneer_server.api.admin.offering import require_location, require_offer
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.noting.auditing import audited
from veneer_server.console.forms import read_form, text_of
from veneer_server.console.frame import Page, Visit
from veneer_server.console.variants.paths import own_name, page_of


async def _add(visit: Visit) -> Response:
    form = await read_form(visit.request)
    name, source = text_of(form, "name"), text_of(form, "source")
    require_offer(visit.who, visit.server, name, source)
    async with audited(visit.request, visit.server, "adapter.add", name[:200], wait=False):
        await visit.server.adapters.add(name, source, wait=False)
    return _go(page_of(visit, name, "add"))


async def _publish(visit: Visit) -> Response:
    form = await read_form(visit.request)
    name, source = own_name(visit, form), text_of(form, "source")
    require_location(visit.who, visit.server, source)
    alias = require_alias_name(form.get("alias", "").strip() or LIVE)
    details = {"alias": alias, "wait": False}
    async with audited(visit.request, visit.server, "adapter.publish", name, **details):
        await visit.server.adapters.publish(
            name,
            source,
            alias=alias,
            allow_no_effect=form.get("allow_no_effect") == "1",
            wait=False,
        )
    return _go(page_of(visit, name, "publish"))


async def _load(visit: Visit) -> Response:
    name = own_name(visit, await read_form(visit.request))
    await visit.server.adapters.load(name)
    return _go(page_of(visit, name, "load"))


async def _unload(visit: Visit) -> Response:
    name = own_name(visit, await read_form(visit.request))
    visit.server.adapters.unload(name)
    return _go(page_of(visit, name, "unload"))


def _pinning(*, pinned: bool) -> Page:
    async def act(visit: Visit) -> Response:
        name = own_name(visit, await read_form(visit.request))
        async with audited(visit.request, visit.server, "adapter.pin", name, pinned=pinned):
            await visit.server.adapters.pin(name, pinned=pinned)
        return _go(page_of(visit, name, "pin" if pinned else "unpin"))

    return act


async def _roll_back(visit: Visit) -> Response:
    form = await read_form(visit.request)
    name, alias, seen = own_name(visit, form), text_of(form, "alias"), _version(form)
    object_ = f"{name}@{alias[:100]}"
    async with audited(visit.request, visit.server, "alias.rollback", object_):
        await visit.server.adapters.roll_back(name, alias, expected=seen)
    return _go(page_of(visit, name, "rollback"))


async def _remove(visit: Visit) -> Response:
    form = await read_form(visit.request)
    name = own_name(visit, form)
    if form.get("confirmed", "").strip() != name:
        raise InvalidRequest(
            "Nothing was removed: type the adapter's name exactly, to confirm.", param="confirmed"
        )
    async with audited(visit.request, visit.server, "adapter.remove", name):
        await visit.server.adapters.remove(name)
    return _go(f"{visit.root}/variants?done=remove")


ACTIONS: Mapping[str, Page] = MappingProxyType(
    {
        "add": _add,
        "publish": _publish,
        "load": _load,
        "unload": _unload,
        "pin": _pinning(pinned=True),
        "unpin": _pinning(pinned=False),
        "rollback": _roll_back,
        "remove": _remove,
    }
)
"""Every action, by the last part of its address."""


def _version(form: Mapping[str, str]) -> int:
    """Return the version of the alias that the person saw: a rollback of another one is refused."""
    text = form.get("version", "")
    if not text.isdecimal() or len(text) > 18:
        raise InvalidRequest("The form has no version of the alias.", param="version")
    return int(text)


def _go(address: str) -> Response:
    # The browser asks anew, so to load the page again repeats nothing.
    return RedirectResponse(address, 303)
