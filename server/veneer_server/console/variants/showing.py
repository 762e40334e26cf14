"""The page of one adapter: what it is, how it does, where it was, and what can be done."""

import time
from typing import Any

from fastapi.responses import Response

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.revision import Adapter, Revision
from veneer_adapters.errors import AdapterFailed, AdapterNotFound
from veneer_server.api.deps import Server
from veneer_server.console.advice import what_to_do
from veneer_server.console.figures.recent import Recent
from veneer_server.console.frame import Page, Visit
from veneer_server.console.variants.paths import name_in_path, terminal
from veneer_server.console.variants.rows import to_row
from veneer_server.tenancy.scopes import Scope

DONE = {
    "add": "Taken. It is fetched, verified and proved now; this page says how far that is.",
    "publish": "Taken. It is fetched, verified and proved now, and then the alias moves.",
    "load": "Loaded: the next request finds it in a device slot.",
    "unload": "It leaves its slots as soon as no request uses it.",
    "pin": "Pinned: it stays in its device slot.",
    "unpin": "No longer pinned: it may leave its slot for another.",
    "rollback": "Rolled back: the alias points to what it pointed to before.",
}
MOST_ALIASES = 20
MOST_MOVES = 20
MOST_REVISIONS = 100


def page(recent: Recent) -> Page:
    """Return the page of the adapter that the path names."""

    async def show(visit: Visit) -> Response:
        server, name = visit.server, name_in_path(visit)
        adapter, who = server.adapters.get(name), visit.who
        lately = await recent.look() if visit.has_figures else None
        used = await server.usage.last_used() if visit.has_figures else {}
        return visit.show(
            "variant_part.html" if visit.is_part else "variant.html",
            adapter=adapter,
            row=to_row(adapter, server.adapters.levels(), lately, used),
            advice=what_to_do(adapter.reason),
            is_owner=who.owns(name),
            may_change=who.may(Scope.ADAPTERS_WRITE) and who.owns(name),
            equals=terminal(visit).of(name),
            now_s=time.time(),
            done=DONE.get(visit.request.query_params.get("done", "")),
            **await _past(server, adapter),
        )

    return show


async def _past(server: Server, adapter: Adapter) -> dict[str, Any]:
    revisions = _revisions(server, adapter.name)
    aliases = sorted(adapter.aliases.values(), key=lambda alias: alias.name)[:MOST_ALIASES]
    return {
        "revisions": revisions[:MOST_REVISIONS],
        "revisions_in_all": len(revisions),
        "aliases": [(alias, await _moves(server, adapter.name, alias)) for alias in aliases],
    }


def _revisions(server: Server, name: str) -> list[Revision]:
    try:
        return server.adapters.revisions(name)
    except (AdapterFailed, AdapterNotFound):  # nothing of it was ever accepted, or not yet
        return []


async def _moves(server: Server, name: str, alias: Alias) -> list[Alias]:
    return (await server.adapters.history(name, alias.name))[:MOST_MOVES]
