"""The table of every adapter."""

import time

from fastapi.responses import Response

from veneer_adapters.lifecycle import State
from veneer_server.console.figures.recent import Recent
from veneer_server.console.frame import Page, Visit
from veneer_server.console.variants.choosing import COLUMNS, SIZES, choose, to_wish
from veneer_server.console.variants.paths import terminal
from veneer_server.console.variants.rows import Row, to_row
from veneer_server.tenancy.scopes import Scope

DONE = {"remove": "Removed. Requests that run on it may finish."}


def page(recent: Recent) -> Page:
    """Return the page with the table; it reads each thing once, however many adapters there are."""

    async def show(visit: Visit) -> Response:
        wish = to_wish(visit.request.query_params)
        rows = await _rows(visit, recent)
        return visit.show(
            "variants_part.html" if visit.is_part else "variants.html",
            wish=wish,
            chosen=choose(rows, wish),
            every=len(rows),
            columns=COLUMNS,
            states=tuple(map(str, State)),
            sizes=SIZES,
            now_s=time.time(),
            may_change=visit.who.may(Scope.ADAPTERS_WRITE),
            folder=visit.server.settings.adapters.dir if visit.who.tenant is None else None,
            adding=terminal(visit).adding(),
            uploading=terminal(visit).uploading(),
            most_bytes=visit.server.settings.sources.max_bytes,
            done=DONE.get(visit.request.query_params.get("done", "")),
        )

    return show


async def _rows(visit: Visit, recent: Recent) -> list[Row]:
    server, who = visit.server, visit.who
    lately = await recent.look() if visit.has_figures else None
    used = await server.usage.last_used() if visit.has_figures else {}
    levels = server.adapters.levels()
    seen = (adapter for adapter in server.adapters.every() if who.sees(adapter.name))
    return [to_row(adapter, levels, lately, used) for adapter in seen]
