"""The batches, and the page of one. They show what the API tells the same key."""

import time

from fastapi.responses import RedirectResponse, Response

from veneer_server.api.batches.bodies import to_asked
from veneer_server.api.files.form import Form
from veneer_server.api.files.receiving import forget, receive
from veneer_server.batches.answering import ENDPOINTS
from veneer_server.batches.batches import WINDOW
from veneer_server.batches.records import Batch, Status
from veneer_server.console.batches import lines
from veneer_server.console.forms import read_form, text_of
from veneer_server.console.frame import Visit, is_keyless, terminal
from veneer_server.files.files import Named
from veneer_server.files.records import Purpose
from veneer_server.files.rules import name_of, usually_lasts

MOST_BATCHES = 50
_CANCELLABLE = (Status.VALIDATING, Status.IN_PROGRESS)


async def show(visit: Visit) -> Response:
    """Return a page of the batches, the newest first.

    Raises:
        BatchNotFound: the batch that 'after' names is not among them.
    """
    server, after = visit.server, visit.request.query_params.get("after")
    page = await server.batches.page(visit.who.owner, after=after, limit=MOST_BATCHES)
    return visit.show(
        "batches_part.html" if visit.is_part else "batches.html",
        batches=page.items,
        more=page.more,
        after=after,
        equal=lines.to_start(terminal(visit)),
        endpoints=ENDPOINTS,
        is_keyless=is_keyless(server),
        now_s=time.time(),
    )


async def show_batch(visit: Visit) -> Response:
    """Return the page of the batch that the path names; raises BatchNotFound."""
    batch_id = visit.request.path_params["batch_id"]
    batch = await visit.server.batches.find(visit.who.owner, batch_id)
    return visit.show(
        "batch_part.html" if visit.is_part else "batch.html",
        batch=batch,
        times=_times(batch),
        may_cancel=batch.status in _CANCELLABLE,
        equals=lines.of_batch(terminal(visit), batch),
        now_s=time.time(),
    )


async def start(visit: Visit) -> Response:
    """Keep the file of the form, make a batch of it, and go to the page of the batch.

    When there is no batch, the file is not kept either.

    Raises:
        ApiFault, FileFault, BatchFault: as the API's routes for files and batches.
    """
    forms: list[Form] = []

    def named(form: Form) -> Named:
        forms.append(form)
        name = name_of(form.filenames["file"])
        return Named(name, Purpose.BATCH, usually_lasts(Purpose.BATCH))

    file = await receive(visit.request, visit.server, named)
    endpoint = forms[0].fields.get("endpoint")
    body = {"input_file_id": file.id, "completion_window": WINDOW, "endpoint": endpoint}
    try:
        batch = await visit.server.batches.create(visit.who, to_asked(body))
    except Exception:  # who is cancelled may have a batch all the same
        await forget(visit.server, visit.who.owner, [file])
        raise
    return RedirectResponse(f"{visit.root}/batches/{batch.id}", 303)


async def cancel(visit: Visit) -> Response:
    """Let a batch end soon; raises BatchNotFound, and BatchRefused when it has ended."""
    batch_id = text_of(await read_form(visit.request), "batch")
    await visit.server.batches.cancel(visit.who.owner, batch_id)
    return RedirectResponse(f"{visit.root}/batches/{batch_id}", 303)


def _times(batch: Batch) -> list[tuple[str, int]]:
    """Return when the batch became what, the earliest first."""
    named = ((name.removesuffix("_at"), at) for name, at in batch.times.items())
    return [("created", batch.created), *sorted(named, key=lambda each: each[1])]
