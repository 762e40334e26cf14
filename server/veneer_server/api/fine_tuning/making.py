"""A job is made: by a client of the API, or by a form of the console."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from veneer_server.api.deps import Server
from veneer_server.api.fine_tuning.bodies import to_asked
from veneer_server.api.noting.auditing import audited
from veneer_server.training.evaluating.asked import Then
from veneer_server.training.jobs.records import FineTuningJob


async def make(request: Request, server: Server, body: Mapping[str, Any]) -> FineTuningJob:
    """Return the job that ``body`` asks for, of who sent the request.

    Raises:
        ApiFault, JobFault: ``param`` names what is missing, unknown or impossible.
        NotOwned: a better model would get a name that is not theirs.
        TrainingFileError: rows are wrong; there is no job.
    """
    who, chosen = request.state.principal, server.settings.training
    asked = to_asked(body, Then(chosen.then), chosen.graders)
    if asked.evaluation.publish_to is not None:
        who.require_owner(asked.evaluation.publish_to)
    server.requests.require_known({"model": asked.model}, who)
    async with audited(request, server, "training.create", "") as change:
        job = await server.jobs.create(who, asked)
        change.object = job.id
    return job
