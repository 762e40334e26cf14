"""One batch while it is worked on: validated, answered line by line, and ended.

Everything here may be cut off at any step: the row and the folder of the batch say how to go on.
"""

import asyncio
import os
import time
from collections import Counter, deque
from enum import StrEnum
from itertools import islice
from typing import BinaryIO

import structlog

from veneer_server.batches.ordering import WINDOW, arrange
from veneer_server.batches.records import Batch, Status
from veneer_server.batches.validation import Line
from veneer_server.batches.working.finishing import UNASKED, finish
from veneer_server.batches.working.shared import Shared
from veneer_server.batches.working.validating import begin, read_lines
from veneer_server.batches.working.writing import Writer

logger = structlog.get_logger(__name__)

TEND_S = 0.5
"""The pause between two flushes, and looks at what is asked of the batch, in seconds."""
_BEAT_S = 10.0
_MOST_TRIES = {"engine_lost": 3, "adapter_unavailable": 10, "adapter_source_unavailable": 10}
"""How often a line is asked that may itself be the cause; what else can pass is waited for."""


class Ending(StrEnum):
    """Why no further line of a batch begins."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    KEY_GONE = "key_gone"
    DRAINING = "draining"
    """The server stops; another one, or this one later, goes on."""


class Running:
    """Works on one batch."""

    def __init__(self, batch: Batch, shared: Shared) -> None:
        self._batch = batch
        self._shared = shared
        self._ending: Ending | None = None
        self._over = asyncio.Event()
        """Set when no further line may begin."""
        self._pending: deque[Line] = deque()
        self._done: set[str] = set()
        self._count = 0
        self._tries: Counter[str] = Counter()
        self._paused_until_s = 0.0
        self._beaten_s = time.monotonic()

    async def run(self) -> None:
        """Work until the batch has ended, or the server stops.

        Raises:
            BatchesUnavailable: the database or the disk fails; a later run goes on.
        """
        batches, batch_id = self._shared.batches, self._batch.id
        if self._batch.status is Status.CANCELLING and self._batch.total == 0:
            await finish(batches, batch_id, Status.CANCELLED)  # no line was looked at
            return
        content = await asyncio.to_thread(batches.folders.input, batch_id)
        try:
            found = await read_lines(self._batch, content, self._shared)
            if found is None:
                return
            if self._batch.status is Status.VALIDATING:
                self._batch = await begin(self._batch, found, self._shared)
                if self._batch.finished:
                    return
            results = await asyncio.to_thread(
                batches.folders.results, batch_id, self._batch.progress
            )
            try:
                self._done = await asyncio.to_thread(results.done)
                writer = Writer(batches, batch_id, results, self._batch.progress)
                await self._answer(found.lines, content, writer)
            finally:
                await asyncio.to_thread(results.close)
            if self._ending is not Ending.DRAINING:
                await self._finish()
        finally:
            content.close()

    async def _answer(self, lines: list[Line], content: BinaryIO, writer: Writer) -> None:
        self._count = len(lines)
        left = [line for line in lines if line.custom_id not in self._done]
        self._pending = deque(left[place] for place in arrange([line.model for line in left]))
        await self._look()
        workers = [
            asyncio.create_task(self._work(content, writer))
            for _ in range(min(self._shared.turns.most, len(left)))
        ]
        tending = asyncio.create_task(self._tend(writer))
        try:
            await self._until_over(workers, tending)
        finally:
            tending.cancel()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(tending, *workers, return_exceptions=True)
            self._take_unasked(lines, writer)
            await writer.flush()

    async def _until_over(
        self, workers: list[asyncio.Task[None]], tending: asyncio.Task[None]
    ) -> None:
        working = asyncio.gather(*workers)
        over = asyncio.create_task(self._over.wait())
        try:
            watched = (working, over, tending)
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            over.cancel()
            working.cancel()
            await asyncio.gather(over, working, return_exceptions=True)

    def _take_unasked(self, lines: list[Line], writer: Writer) -> None:
        if self._ending in UNASKED:
            for line in lines:
                if line.custom_id not in self._done:
                    writer.unanswered(line.custom_id, *UNASKED[self._ending])

    async def _work(self, content: BinaryIO, writer: Writer) -> None:
        while self._pending and not self._over.is_set():
            await self._until_unpaused(writer)
            async with self._shared.turns.one(self._batch.id):
                if not self._pending or self._over.is_set():
                    return
                models = [line.model for line in islice(self._pending, WINDOW)]
                position = self._shared.slots.take(models)
                if position is not None:
                    line = self._pending[position]
                    del self._pending[position]
                    await self._one(line, content, writer)
                    continue
            # Nothing runs between the end of the block and this, so no change is missed.
            await self._shared.slots.changed()

    async def _until_unpaused(self, writer: Writer) -> None:
        while writer.is_full or time.monotonic() < self._paused_until_s:
            left_s = self._paused_until_s - time.monotonic()
            await asyncio.sleep(min(max(left_s, 0.05), TEND_S))

    async def _one(self, line: Line, content: BinaryIO, writer: Writer) -> None:
        answers, who = self._shared.answers, self._shared.who_is(self._batch)
        try:
            if who is None:
                self._end(Ending.KEY_GONE)
                return
            raw = await asyncio.to_thread(os.pread, content.fileno(), line.size_bytes, line.offset)
            body = answers.parse(raw)["body"]
            found = await answers.answer(self._batch.endpoint, body, who)
            if found.retry_after_s is not None and self._may_try_again(line, found.code):
                self._paused_until_s = time.monotonic() + found.retry_after_s
                self._pending.append(line)
                return
            self._done.add(line.custom_id)
            writer.answered(line.custom_id, found)
            self._shared.ended("completed" if found.status == 200 else "failed")
        finally:
            self._shared.slots.give_back(line.model)

    def _may_try_again(self, line: Line, code: str | None) -> bool:
        if code not in _MOST_TRIES:
            return True
        self._tries[line.custom_id] += 1
        return self._tries[line.custom_id] < _MOST_TRIES[code]

    async def _tend(self, writer: Writer) -> None:
        while True:
            await asyncio.sleep(TEND_S)
            is_due = time.monotonic() - self._beaten_s > _BEAT_S
            if writer.is_waiting or is_due:
                await writer.flush()
                self._beaten_s = time.monotonic()
            await self._look()

    async def _look(self) -> None:
        """See whether the batch must end."""
        batches = self._shared.batches
        found = await batches.look(self._batch.id)
        if self._shared.draining.is_set():
            self._end(Ending.DRAINING)
        elif found is not None and found.status is Status.CANCELLING:
            self._end(Ending.CANCELLED)
        elif self._shared.who_is(self._batch) is None:
            self._end(Ending.KEY_GONE)
        elif len(self._done) < self._count and batches.now >= self._batch.expires:
            self._end(Ending.EXPIRED)

    def _end(self, ending: Ending) -> None:
        self._ending = self._ending or ending
        self._over.set()

    async def _finish(self) -> None:
        status = _LAST[self._ending]
        await finish(self._shared.batches, self._batch.id, status)
        logger.info("batch ended", batch=self._batch.id, status=str(status))


_LAST = {
    None: Status.COMPLETED,
    Ending.CANCELLED: Status.CANCELLED,
    Ending.EXPIRED: Status.EXPIRED,
    Ending.KEY_GONE: Status.FAILED,
}
"""The last status of a batch, by why no further line began."""
