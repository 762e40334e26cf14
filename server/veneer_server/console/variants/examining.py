"""The doctor's report on an adapter."""

from fastapi.responses import Response

from veneer_server.console.advice import what_to_do
from veneer_server.console.frame import Visit
from veneer_server.console.variants.paths import name_in_path, terminal


async def show(visit: Visit) -> Response:
    """Return the page with what the doctor says of the adapter's newest content.

    Raises:
        AdapterNotFound: there is no such adapter for who asks.
        NotOwned: they may only look at it.
        AdapterRejected, AdapterUnavailable: it cannot be examined, or not now.
    """
    name = name_in_path(visit)
    visit.who.require_owner(name)
    report = await visit.server.adapters.report(name)
    advice = [what_to_do(problem.reason) for problem in report.problems]
    source = visit.server.adapters.get(name).source
    return visit.show(
        "report.html",
        name=name,
        report=report,
        problems=list(zip(report.problems, advice, strict=True)),
        equal=terminal(visit).checking(source.location or "FOLDER"),
    )
