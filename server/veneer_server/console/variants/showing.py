"""The page of one adapter: what it is, how it does, where it was, and what can be done."""

import time
from typing import Any

from fastapi.responses import Response

from veneer_adapters.catalog.alias import Alias, Target
from veneer_adapters.catalog.revision import Adapter, Revision
from veneer_adapters.errors import AdapterFailed, AdapterNotFound
from veneer_adapters.lifecycle import State
from veneer_adapters.names import LIVE
from veneer_adapters.publishing.publishing import Wanted
from veneer_server.api.deps import Server
from veneer_server.console.advice import what_to_do
from veneer_server.console.figures.history import History
from veneer_server.console.figures.reading import Traffic
from veneer_server.console.figures.recent import Recent
from veneer_server.console.figures.sparkline import HEIGHT, WIDTH, lines_of
from veneer_server.console.frame import Page, Visit
from veneer_server.console.rollouts.lines import moving
from veneer_server.console.terminal import Equal
from veneer_server.console.variants.paths import name_in_path, terminal
from veneer_server.console.variants.rows import to_row
from veneer_server.tenancy.scopes import Scope

DONE = {
    "add": "Taken. It is fetched, verified and proved now; this page says how far that is.",
    "publish": "Taken. It is fetched, verified and proved now, and then the alias moves.",
    "upload": "Uploaded, verified and proved: its alias points to it now.",
    "load": "Loaded: the next request finds it in a device slot.",
    "unload": "It leaves its slots as soon as no request uses it.",
    "pin": "Pinned: it stays in its device slot.",
    "unpin": "No longer pinned: it may leave its slot for another.",
    "rollback": "Rolled back: the alias points to what it pointed to before.",
}
MOST_ALIASES = 20
MOST_MOVES = 20
MOST_REVISIONS = 100


def page(recent: Recent, history: History) -> Page:
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
            width=WIDTH,
            height=HEIGHT,
            most_bytes=server.settings.sources.max_bytes,
            now_s=time.time(),
            curves=_curves(history, name) if visit.has_figures else [],
            steps=_steps(history, name) if visit.has_figures else [],
            done=DONE.get(visit.request.query_params.get("done", "")),
            **await _past(visit, adapter),
        )

    return show


def _curves(history: History, name: str) -> list[tuple[str, list[str]]]:
    traffic = [step.of(name) for step in history.steps]
    return [
        ("Requests per second", lines_of([one.requests_per_s for one in traffic])),
        ("First token, p95", lines_of([one.first_token_p95_s for one in traffic])),
    ]


def _steps(history: History, name: str) -> list[tuple[float, Traffic]]:
    """Return the minutes in which there were requests, the newest first."""
    steps = reversed(history.steps)
    return [(step.until_s, step.of(name)) for step in steps if name in step.traffic]


def _beginning(visit: Visit, adapter: Adapter, others: list[Revision]) -> Equal | None:
    """Return the lines that begin a rollout of the newest of the ``others``, if one can begin."""
    live = adapter.aliases.get(LIVE)
    if live is None or len(live.targets) > 1 or not others:
        return None
    targets = Target(live.main, 90), Target(others[0].number, 10)
    wanted = Wanted(targets, expected=live.version)
    return moving(terminal(visit), adapter.name, LIVE, wanted)


async def _past(visit: Visit, adapter: Adapter) -> dict[str, Any]:
    server = visit.server
    revisions = _revisions(server, adapter.name)
    live = adapter.live.number if adapter.live else None
    others = [one for one in revisions if one.state is not State.FAILED and one.number != live]
    aliases = sorted(adapter.aliases.values(), key=lambda alias: alias.name)[:MOST_ALIASES]
    return {
        "others": others[:MOST_REVISIONS],
        "beginning": _beginning(visit, adapter, others),
        "revisions": revisions[:MOST_REVISIONS],
        "revisions_in_all": len(revisions),
        "rollbacks": {
            alias.name: terminal(visit).rolling_back(adapter.name, alias.name) for alias in aliases
        },
        "aliases": [(alias, await _moves(server, adapter.name, alias)) for alias in aliases],
    }


def _revisions(server: Server, name: str) -> list[Revision]:
    try:
        return server.adapters.revisions(name)
    except (AdapterFailed, AdapterNotFound):  # nothing of it was ever accepted, or not yet
        return []


async def _moves(server: Server, name: str, alias: Alias) -> list[Alias]:
    return (await server.adapters.history(name, alias.name))[:MOST_MOVES]
