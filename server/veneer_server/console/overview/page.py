"""Is all well, in one look."""

import time
from collections import Counter
from collections.abc import Sequence

from fastapi.responses import Response

from veneer_adapters.errors import AdapterUnavailable
from veneer_server.api.deps import Server
from veneer_server.api.errors import to_api_error
from veneer_server.api.readiness import require_ready
from veneer_server.console.figures.history import History
from veneer_server.console.figures.recent import Recent
from veneer_server.console.frame import Page, Visit
from veneer_server.console.overview.incidents import MOST, Incident, incidents
from veneer_server.console.overview.verdicts import judge
from veneer_server.training.jobs.errors import JobsUnavailable

_MOST_REFUSALS = 8


def page(recent: Recent, history: History) -> Page:
    """Return the page that says how this server does."""

    async def show(visit: Visit) -> Response:
        server = visit.server
        lately = await recent.look()
        states = Counter(str(adapter.state) for adapter in server.adapters.every())
        trouble = await _trouble(server)
        refusals = sorted(lately.now.refusals.items(), key=lambda row: (-row[1], row[0]))
        return visit.show(
            "overview_part.html" if visit.is_part else "overview.html",
            verdict=judge(trouble, lately, states),
            trouble=trouble,
            incidents=await _incidents(visit, history),
            lately=lately,
            whole=lately.whole(),
            states=states,
            refusals=refusals[:_MOST_REFUSALS],
            started_s=server.started_s,
            now_s=time.time(),
        )

    return show


async def _incidents(visit: Visit, history: History) -> Sequence[Incident] | None:
    server, who = visit.server, visit.who
    try:
        entries, jobs = await server.audit.troubles(MOST), await server.jobs.failed(MOST)
    except (AdapterUnavailable, JobsUnavailable):
        return None  # this page is what people look at then
    return incidents(
        (adapter for adapter in server.adapters.every() if who.sees(adapter.name)),
        (one for one in entries if who.sees(one.change.object.partition("@")[0])),
        (job for job in jobs if who.tenant in (None, job.tenant)),
        ((step.until_s, step.restarts) for step in history.steps if step.restarts),
    )


async def _trouble(server: Server) -> str | None:
    try:
        await require_ready(server)
    except Exception as error:
        return to_api_error(error).message
    return None
