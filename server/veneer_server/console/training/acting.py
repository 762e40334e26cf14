"""What can be done with jobs by a form. The API's routes do the same for programs."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from fastapi.responses import RedirectResponse, Response

from veneer_adapters.catalog.alias import Target
from veneer_adapters.publishing.publishing import Wanted
from veneer_server.api.admin.bodies import require_alias_name
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.files.form import Form
from veneer_server.api.files.receiving import forget, receive_all
from veneer_server.api.fine_tuning.making import make
from veneer_server.api.noting.auditing import audited
from veneer_server.console.forms import number_of, read_form, text_of
from veneer_server.console.frame import Page, Visit
from veneer_server.console.training.starting import VALIDATION, to_body
from veneer_server.files.files import Named
from veneer_server.files.records import Purpose, StoredFile
from veneer_server.files.rules import name_of
from veneer_server.tenancy.authenticating import require
from veneer_server.tenancy.scopes import Scope
from veneer_server.training.jobs.records import FineTuningJob
from veneer_server.training.rows.checking import method_of
from veneer_server.training.rows.faults import InvalidTrainingFile


async def _start(visit: Visit) -> Response:
    """Keep the files of the form, start a job with them, and go to the page of the job.

    When there is no job, no file is kept either. Rows that are wrong are listed on a page.

    Raises:
        ApiFault, FileFault, JobFault, TrainingFileError: as the API's routes for files and jobs.
    """
    require(visit.who, Scope.INFER)
    forms: list[Form] = []

    def named(form: Form) -> Named:
        forms.append(form)
        return Named(name_of(form.filenames["file"]), Purpose.FINE_TUNE, None)

    files = await receive_all(visit.request, visit.server, named, VALIDATION)
    try:
        job = await _make(visit, forms[0].fields, files)
    except BaseException as error:
        await forget(visit.server, visit.who.owner, files.values())
        if isinstance(error, InvalidTrainingFile):
            wrong = files[VALIDATION if error.param == VALIDATION else "file"]
            return _list_faults(visit, error, wrong.filename)
        raise
    return _go(visit, job.id)


def _list_faults(visit: Visit, error: InvalidTrainingFile, filename: str) -> Response:
    visit.request.state.code = error.code
    found = {"faults": error.faults, "more": error.more, "filename": filename}
    return visit.show("training_refused.html", 400, **found)


async def _make(
    visit: Visit, form: Mapping[str, str], files: Mapping[str, StoredFile]
) -> FineTuningJob:
    with await visit.server.files.open(files["file"]) as content:
        method = await asyncio.to_thread(method_of, content)
    sent = {part: file.id for part, file in files.items()}
    body = to_body(form, visit.server.engine.model.id, sent, method)
    return await make(visit.request, visit.server, body)


def _changing(action: str) -> Page:
    async def act(visit: Visit) -> Response:
        job_id = text_of(await read_form(visit.request), "job")
        async with audited(visit.request, visit.server, f"training.{action}", job_id[:64]):
            await getattr(visit.server.jobs, action)(visit.who.owner, job_id)
        return _go(visit, job_id)

    return act


async def _publish(visit: Visit) -> Response:
    """Point an alias of the job's adapter to a checkpoint, if nobody moved it meanwhile."""
    form, server = await read_form(visit.request), visit.server
    job = await server.jobs.find(visit.who.owner, text_of(form, "job"))
    alias, revision = require_alias_name(text_of(form, "alias")), number_of(form, "revision")
    if revision not in {one.revision for one in await server.jobs.published(job.id)}:
        raise InvalidRequest("The job has no such checkpoint.", param="revision")
    visit.who.require_owner(job.adapter)
    label, targets = f"{job.adapter}@{alias}", (Target(revision),)
    async with audited(visit.request, server, "alias.move", label, targets=[[revision, 1]]):
        await server.adapters.move(
            job.adapter, alias, Wanted(targets, expected=_expected(form, alias))
        )
    return _go(visit, job.id)


def _expected(form: Mapping[str, str], alias: str) -> int:
    """Return the version that the alias had when the page was made; 0 when there was none."""
    field = f"version-{alias}"
    return number_of(form, field) if field in form else 0


ACTIONS: Mapping[str, Page] = MappingProxyType(
    {
        "start": _start,
        "pause": _changing("pause"),
        "resume": _changing("resume"),
        "cancel": _changing("cancel"),
        "publish": _publish,
    }
)
"""Every action, by the last part of its address."""


def _go(visit: Visit, job_id: str) -> Response:
    return RedirectResponse(f"{visit.root}/training/{job_id}", 303)
