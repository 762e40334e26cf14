"""The end of a batch: its answers become files of its owner. Each step may be done twice."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from veneer_server.batches.batches import Batches
from veneer_server.batches.folders import ERRORS, OUTPUT
from veneer_server.batches.records import Batch, LineFault, Status, output_id
from veneer_server.files.files import Named
from veneer_server.files.records import Purpose
from veneer_server.files.rules import usually_lasts

UNASKED: Mapping[str | None, tuple[str, str]] = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "key_gone": ("invalid_api_key", "The key of the batch is no good any more."),
}
"""What is said of a line that was never answered, by why no further line began.

Source: ``BatchRequestOutput`` of OpenAI's schema."""
KEY_GONE = LineFault("invalid_api_key", "The key of the batch is no good any more.")


async def finish(batches: Batches, batch_id: str, status: Status) -> Batch:
    """Make the files of answers, and give the batch its last ``status``.

    Raises:
        FileFault, BatchesUnavailable: the database or the disk fails; to call it again goes on.
    """
    if status is Status.COMPLETED:
        await batches.change(batch_id, lambda found: _finalizing(found, batches.now))
    found = await batches.look(batch_id)
    assert found is not None  # noqa: S101 - nobody removes an unfinished batch
    output = await _keep(batches, found, OUTPUT, found.progress.output_bytes)
    errors = await _keep(batches, found, ERRORS, found.progress.error_bytes)

    def ended(batch: Batch) -> Batch:
        files = {"output_file": output, "error_file": errors}
        faults = (KEY_GONE,) if status is Status.FAILED else batch.faults
        return batch.moved(status, batches.now, faults=faults, **files)

    batch = await batches.change(batch_id, ended)
    await asyncio.to_thread(batches.folders.end, batch_id)
    return batch


def _finalizing(batch: Batch, now: int) -> Batch:
    # A batch that somebody cancels after its last line was answered is complete.
    moved = batch.moved(Status.FINALIZING, now)
    times = {name: at for name, at in moved.times.items() if name != "cancelling_at"}
    return batch if batch.status is Status.FINALIZING else replace(moved, times=times)


async def _keep(batches: Batches, batch: Batch, name: str, size_bytes: int) -> str | None:
    if size_bytes == 0:
        return None
    kind = name.partition(".")[0]
    lasts_s = batch.output_expires_s
    named = Named(
        f"{batch.id}_{kind.removesuffix('s')}.jsonl",
        Purpose.BATCH_OUTPUT,
        usually_lasts(Purpose.BATCH_OUTPUT) if lasts_s is None else lasts_s,
    )
    content = await asyncio.to_thread(batches.folders.answers, batch.id, name)
    try:
        made = await batches.files.make(batch.owner, content, named, output_id(batch.id, kind))
    finally:
        content.close()
    return made.id
