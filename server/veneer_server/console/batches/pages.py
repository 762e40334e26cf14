"""The batches, and the page of one. They show what the API tells the same key."""

import time

from fastapi.responses import RedirectResponse, Response

from veneer_server.batches.records import Batch, Status
from veneer_server.console.batches import lines
from veneer_server.console.forms import read_form, text_of
from veneer_server.console.frame import Visit, is_keyless, terminal

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


async def cancel(visit: Visit) -> Response:
    """Let a batch end soon; raises BatchNotFound, and BatchRefused when it has ended."""
    batch_id = text_of(await read_form(visit.request), "batch")
    await visit.server.batches.cancel(visit.who.owner, batch_id)
    return RedirectResponse(f"{visit.root}/batches/{batch_id}", 303)


def _times(batch: Batch) -> list[tuple[str, int]]:
    """Return when the batch became what, the earliest first."""
    named = ((name.removesuffix("_at"), at) for name, at in batch.times.items())
    return [("created", batch.created), *sorted(named, key=lambda each: each[1])]
