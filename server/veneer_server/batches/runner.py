"""Works on every unfinished batch that this server can work on. One for each server."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence

import structlog

from veneer_server.batches.errors import BatchFault
from veneer_server.batches.records import UNFINISHED, Batch
from veneer_server.batches.working.running import Running
from veneer_server.batches.working.shared import Shared
from veneer_server.files.errors import FileFault

logger = structlog.get_logger(__name__)

MOST_RUNNING = 16
"""Batches that are worked on at the same time; the others wait."""
_LOOK_S = 1.0
_IDLE_S = 30.0
"""Between two looks while there is no batch: each look costs the processor some milliseconds."""
_SILENT_S = 60
_AGAIN_S = 10.0
_SWEEP_S = 3600.0


def choose_next(waiting: Sequence[Batch], running: Sequence[Batch], most: int) -> list[Batch]:
    """Return which of the ``waiting`` to begin with, so that ``most`` run in all.

    The owner of whom the fewest run is next, and of their batches the oldest. Pure.
    """
    of_owner = Counter(batch.owner for batch in running)
    left = list(waiting)
    chosen: list[Batch] = []
    while left and len(running) + len(chosen) < most:
        batch = min(left, key=lambda one: (of_owner[one.owner], one.number))
        left.remove(batch)
        chosen.append(batch)
        of_owner[batch.owner] += 1
    return chosen


class Runner:
    """The task that works on batches."""

    def __init__(self, shared: Shared, *, days: int) -> None:
        """Forget what ended and was made ``days`` ago."""
        self._shared = shared
        self._days = days
        self._name = secrets.token_hex(8)
        self._tasks: dict[str, tuple[Batch, asyncio.Task[None]]] = {}
        self._again_s: dict[str, float] = {}
        self._failing = False
        self._swept_s = float("-inf")
        self._seen: Counter[str] = Counter()

    def count(self) -> dict[tuple[str, ...], int]:
        """Return how many batches there were of each status that is no end, a moment ago."""
        return {(str(status),): self._seen[status] for status in UNFINISHED}

    async def run(self) -> None:
        """Work until cancelled; a failure of the database or the disk is logged once."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._shared.turns.run())
                group.create_task(self._keep_looking())
        finally:
            tasks = [task for _, task in self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.clear()

    async def _keep_looking(self) -> None:
        arrived = self._shared.batches.arrived
        while not self._shared.draining.is_set():
            try:
                await self._look()
            except (BatchFault, FileFault) as error:
                if not self._failing:
                    logger.warning("batches not looked at", why=str(error))
                self._failing = True
            else:
                self._failing = False
            try:
                async with asyncio.timeout(_LOOK_S if self._seen else _IDLE_S):
                    await arrived.wait()
            except TimeoutError:
                continue
            arrived.clear()
        await asyncio.Event().wait()

    async def _look(self) -> None:
        self._note_ended()
        unfinished = await self._shared.batches.unfinished()
        self._seen = Counter(batch.status for batch in unfinished)
        now_s = time.monotonic()
        waiting = [
            batch
            for batch in unfinished
            if batch.id not in self._tasks and self._again_s.get(batch.id, 0.0) <= now_s
        ]
        mine = await asyncio.to_thread(self._local, waiting)
        running = [batch for batch, _ in self._tasks.values()]
        for batch in choose_next(mine, running, MOST_RUNNING):
            await self._begin(batch)
        if now_s - self._swept_s > _SWEEP_S:
            await self._sweep({batch.id for batch in unfinished} | self._tasks.keys())
            self._swept_s = now_s

    def _local(self, waiting: Sequence[Batch]) -> list[Batch]:
        return [batch for batch in waiting if self._shared.batches.folders.has(batch.id)]

    async def _begin(self, batch: Batch) -> None:
        silent_s = _SILENT_S if self._shared.batches.shared else -1
        if await self._shared.batches.claim(batch.id, self._name, silent_s=silent_s):
            found = await self._shared.batches.look(batch.id)
            if found is not None and not found.finished:
                task = asyncio.create_task(Running(found, self._shared).run())
                self._tasks[batch.id] = found, task

    def _note_ended(self) -> None:
        for batch_id, (_, task) in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[batch_id]
            self._again_s.pop(batch_id, None)
            error = task.exception()
            if error is not None:
                self._again_s[batch_id] = time.monotonic() + _AGAIN_S
                known = isinstance(error, BatchFault | FileFault)
                trace = None if known else error
                logger.warning("batch interrupted", batch=batch_id, why=str(error), exc_info=trace)

    async def _sweep(self, unfinished: set[str]) -> None:
        """Remove what belongs to no batch any more: a server died between the two."""
        batches = self._shared.batches
        # The folder of a batch is there a moment before its row.
        for batch_id in await asyncio.to_thread(batches.folders.older_than, _SWEEP_S):
            if batch_id not in unfinished:
                await asyncio.to_thread(batches.folders.end, batch_id)
        await batches.delete_old(self._days)
