"""The queue of jobs, and the page of one. They show what the API tells the same key."""

import time
from typing import Any

from fastapi.responses import Response

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.errors import AdapterError
from veneer_server.console.frame import Visit, is_keyless, terminal
from veneer_server.console.training import lines
from veneer_server.console.training.curves import curve, thinned
from veneer_server.console.training.starting import GRADERS
from veneer_server.tenancy.scopes import Scope
from veneer_server.training.evaluating.asked import Then, read
from veneer_server.training.evaluating.verdicts import Comparison
from veneer_server.training.jobs.naming import alias_of, model_of
from veneer_server.training.jobs.records import Event, FineTuningJob, Published
from veneer_server.worklist.pages import Page

MOST_JOBS = 50
MOST_EVENTS = 2000
"""Of the newest; the file of results has every step."""
MOST_SAID = 30
MOST_POINTS = 200
MOST_CHECKPOINTS = 50


async def show(visit: Visit) -> Response:
    """Return a page of the jobs, the newest first, and the form that starts one.

    Raises:
        JobNotFound: the job that 'after' names is not among them.
    """
    server, after = visit.server, visit.request.query_params.get("after")
    page = await server.jobs.page(visit.who.owner, after=after, limit=MOST_JOBS, metadata=None)
    return visit.show(
        "training_part.html" if visit.is_part else "training.html",
        jobs=[(job, word_of(job), model_of(server.engine.model.id, job)) for job in page.items],
        more=page.more,
        after=after,
        now_s=time.time(),
        **form_values(visit),
    )


async def show_job(visit: Visit) -> Response:
    """Return the page of the job that the path names; raises JobNotFound."""
    jobs, owner, job_id = visit.server.jobs, visit.who.owner, visit.request.path_params["job_id"]
    events = await jobs.events(owner, job_id, after=None, limit=MOST_EVENTS)
    job, page = await jobs.checkpoints(owner, job_id, after=None, limit=MOST_CHECKPOINTS)
    measured = job.progress.evaluation
    return visit.show(
        "job_part.html" if visit.is_part else "job.html",
        job=job,
        word=word_of(job),
        asked=read(job.recipe.evaluation),
        comparison=Comparison.read(measured) if measured else None,
        equals=lines.of_job(terminal(visit), job),
        **_told(events),
        **_made(visit, job, page.items),
    )


def word_of(job: FineTuningJob) -> str:
    """Return how far a job is, in a word: OpenAI has none for one that is paused."""
    return "paused" if job.paused else str(job.status)


def form_values(visit: Visit) -> dict[str, Any]:
    """Return what the form that starts a job needs."""
    server, who = visit.server, visit.who
    return {
        "may_start": who.may(Scope.ADAPTERS_WRITE) and who.may(Scope.INFER),
        "graders": GRADERS,
        "thens": tuple(map(str, Then)),
        "usual_then": server.settings.training.then,
        "namespace": "" if who.tenant is None else f"{who.tenant}/",
        "equal": lines.to_start(terminal(visit), server.engine.model.id),
        "is_keyless": is_keyless(server),
    }


def _told(events: Page[Event]) -> dict[str, Any]:
    points = curve(events.items)
    return {
        "points": thinned(points, MOST_POINTS),
        "steps": len(points),
        "is_cut": events.more,
        "said": [event for event in events.items if event.kind != "metrics"][:MOST_SAID],
    }


def _made(visit: Visit, job: FineTuningJob, checkpoints: list[Published]) -> dict[str, Any]:
    name = model_of(visit.server.engine.model.id, job)
    return {
        "model_name": name,
        "checkpoints": [(one, f"{name}:{alias_of(one.step)}") for one in checkpoints],
        "aliases": _aliases(visit, job),
    }


def _aliases(visit: Visit, job: FineTuningJob) -> list[Alias]:
    try:
        found = visit.server.adapters.get(job.adapter).aliases
    except AdapterError:  # no checkpoint is there yet, or somebody removed the adapter
        return []
    return sorted(found.values(), key=lambda alias: alias.name)
