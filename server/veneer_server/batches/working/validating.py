"""The first step of a batch: its lines are looked at, and it begins or fails."""

import asyncio
from dataclasses import replace
from typing import Any, BinaryIO

from veneer_server.batches.records import Batch, LineFault, Status
from veneer_server.batches.validation import Validation
from veneer_server.batches.working.finishing import KEY_GONE
from veneer_server.batches.working.shared import Shared
from veneer_server.tenancy.principals import Principal

_CHUNK = 200


async def read_lines(batch: Batch, content: BinaryIO, shared: Shared) -> Validation | None:
    """Return what is in the input of ``batch``; None when the server stops meanwhile.

    The bodies are looked at only once, while the batch is validated.
    """
    who = shared.who_is(batch)

    def check(body: Any) -> LineFault | None:
        if who is None or batch.status is not Status.VALIDATING:
            return None
        return shared.answers.fault(batch.endpoint, body, who)

    most = shared.batches.bounds.max_lines
    found = Validation(batch.endpoint, shared.answers.parse, check, max_lines=most)
    while not found.is_over:
        if shared.draining.is_set():
            return None
        if not await asyncio.to_thread(_take_some, content, found, shared.longest_line):
            break
    return found


async def begin(batch: Batch, found: Validation, shared: Shared) -> Batch:
    """Let a validated batch begin, or fail with what is wrong with its lines; return it."""
    who = shared.who_is(batch)
    changed = await shared.batches.change(
        batch.id, lambda now: _begun(now, found, who, shared.batches.now)
    )
    if changed.finished:
        await asyncio.to_thread(shared.batches.folders.end, batch.id)
    return changed


def _begun(batch: Batch, found: Validation, who: Principal | None, now: int) -> Batch:
    if batch.status is not Status.VALIDATING:
        return replace(batch, total=len(found.lines))  # somebody cancelled it
    faults = (KEY_GONE,) if who is None else found.end()
    if faults:
        return batch.moved(Status.FAILED, now, faults=faults)
    return batch.moved(Status.IN_PROGRESS, now, total=len(found.lines), model=found.model())


def _take_some(content: BinaryIO, found: Validation, longest: int) -> bool:
    """Take a few lines; return whether there are more."""
    for _ in range(_CHUNK):
        raw = content.readline(longest + 1)
        if not raw or found.is_over:
            return False
        if len(raw) > longest:
            found.refuse("line_too_long", f"A line has at most {longest} bytes.")
        else:
            found.take(raw)
    return True
