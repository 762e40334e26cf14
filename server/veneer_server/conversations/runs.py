"""Responses that are generated in the background: queued, in progress, ended; and cancelled.

A run is a task of its own. It ends with its response, with the end of the server, when somebody
cancels or deletes the response, or when it takes too long. Each time the record says how it ended,
and a record of a server that died is ended by another server, or by the next start.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any

import structlog

from veneer_server.conversations.errors import RunsFull, StateUnavailable
from veneer_server.conversations.events import EventLog
from veneer_server.conversations.records import Status, StoredResponse
from veneer_server.conversations.sql import response_rows
from veneer_server.conversations.sql.store import Store
from veneer_server.conversations.turns import Turn

logger = structlog.get_logger(__name__)

LOG_KEPT_S = 300.0
"""How long the events of a finished run are kept, in seconds."""
_LOG_BYTES, _LOGS_BYTES = 4 * 2**20, 64 * 2**20
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)

STOPPED = "The server was stopped before the response was complete."
TOO_LONG = "The response took longer than conversations.background_timeout_s allows."
BROKEN = "The server had an error; see its log."
LOST = "The server that generated the response died."


@dataclass(frozen=True, slots=True)
class Step:
    """What a run has generated since its last step."""

    frames: bytes = b""
    """Events in OpenAI's shape, none, one or several."""
    document: dict[str, Any] | None = None
    """The whole response, in the last step."""


Work = Callable[[], AsyncGenerator[Step]]
ToLast = Callable[[dict[str, Any], int], bytes]


@dataclass(eq=False, slots=True)
class Run:
    """One response in the background."""

    turn: Turn
    record: StoredResponse
    log: EventLog | None
    """Its events, when the request asked for a stream."""
    owned: AsyncExitStack = field(default_factory=AsyncExitStack)
    """What it holds while it generates; closed then."""
    task: asyncio.Task[None] | None = None
    why: dict[str, Any] = field(default_factory=dict)
    """The members of the response that say why it was ended early; empty until it is."""
    ended_s: float | None = None

    def stop(self, why: dict[str, Any]) -> None:
        """End it early; only the first reason counts."""
        if not self.why and self.task is not None:
            self.why = why
            self.task.cancel()


def failed(message: str) -> dict[str, Any]:
    """Return the members of a response that failed."""
    return {
        "status": Status.FAILED.value,
        "error": {"code": "server_error", "message": message},
    }


class Runs:
    """The runs of this server."""

    def __init__(
        self,
        store: Store,
        to_last: ToLast,
        *,
        most: int,
        longest_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let ``most`` runs go on at a time, each ``longest_s`` at most.

        ``to_last`` makes the event that ends the stream of a response that did not succeed.
        """
        self._store = store
        self._to_last = to_last
        self._most = most
        self._longest_s = longest_s
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._ended: dict[str, Run] = {}

    async def start(
        self,
        turn: Turn,
        queued: dict[str, Any],
        work: Work,
        owned: AsyncExitStack | None = None,
        *,
        streams: bool,
    ) -> Run:
        """Keep the response as ``queued``, and begin to generate it with ``work``.

        What ``owned`` holds is the run's own from now on; after an error it is as before.

        Raises:
            RunsFull: as many as may go on already.
            StateUnavailable: the response could not be kept, so nothing began.
        """
        if len(self._runs) >= self._most:
            raise RunsFull(
                f"{self._most} responses run in the background already. Try again later."
            )
        run = Run(turn, turn.record(queued), EventLog(_LOG_BYTES) if streams else None)
        self._runs[turn.id] = run  # before the first wait, so that no more than ``most`` begin
        try:
            await self._store.add(run.record)
        except BaseException:
            del self._runs[turn.id]
            raise
        if owned is not None:
            run.owned = owned.pop_all()
        run.task = asyncio.create_task(self._keep(run, work), name=turn.id)
        await asyncio.sleep(0)  # a task that is cancelled before it begins would leave no trace
        return run

    def running(self) -> list[str]:
        """Return the ids of the responses that this server generates."""
        return list(self._runs)

    def log(self, response_id: str) -> EventLog | None:
        """Return the events of a response that runs or ended a short time ago."""
        run = self._runs.get(response_id) or self._ended.get(response_id)
        return run.log if run is not None else None

    async def stop(self, response_id: str, why: dict[str, Any]) -> None:
        """End a run early, and return when it has ended; without such a run do nothing."""
        run = self._runs.get(response_id)
        if run is not None and run.task is not None:
            run.stop(why)
            await asyncio.wait([run.task])

    async def beat(self) -> None:
        """Say that all runs go on; end those whose response is cancelled or deleted elsewhere."""
        self._forget_logs()
        ids = self.running()
        if not ids:
            return
        async with self._store.writing() as connection:
            wanted = await response_rows.beat(connection, ids, now=self._store.now)
        for id_ in set(ids) - wanted:
            if (run := self._runs.get(id_)) is not None:
                run.stop({"status": Status.CANCELLED.value})

    async def close(self, deadline: asyncio.Event, *, wait: bool) -> None:
        """End every run; with ``wait`` let them go on until the ``deadline`` first."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if wait and tasks:
            everything = asyncio.ensure_future(asyncio.wait(tasks))
            late = asyncio.ensure_future(deadline.wait())
            await asyncio.wait((everything, late), return_when=asyncio.FIRST_COMPLETED)
            everything.cancel()
            late.cancel()
        for run in list(self._runs.values()):
            run.stop(failed(STOPPED))
        if tasks:
            await asyncio.wait(tasks)

    async def _keep(self, run: Run, work: Work) -> None:
        step = Step()
        try:
            async with asyncio.timeout(self._longest_s), run.owned:
                step = await self._generate(run, work)
        except asyncio.CancelledError:
            step = self._early(run, run.why or failed(STOPPED))
        except TimeoutError:
            step = self._early(run, failed(TOO_LONG))
        except Exception as error:
            logger.error("background response failed", response=run.turn.id, exc_info=error)
            step = self._early(run, failed(BROKEN))
        finally:
            await self._end(run, step)

    async def _generate(self, run: Run, work: Work) -> Step:
        begun = {**run.record.document, "status": Status.IN_PROGRESS.value}
        if not await self._store.settle(run.record, begun):
            return self._early(run, {"status": Status.CANCELLED.value})
        async with aclosing(work()) as steps:
            async for step in steps:
                if step.document is not None:
                    return step
                self._note(run, step.frames)
        raise AssertionError("a run ended without its response")

    def _early(self, run: Run, why: dict[str, Any]) -> Step:
        document = {**run.record.document, **why}
        number = run.log.end if run.log is not None else 0
        return Step(self._to_last(document, number), document)

    async def _end(self, run: Run, step: Step) -> None:
        # The record comes first: whoever reads the last event may ask for the response at once.
        await self._write(run, step.document or {})
        if run.log is not None:
            self._note(run, step.frames)
            run.log.close()
            run.ended_s = self._clock()
            self._ended[run.turn.id] = run
        del self._runs[run.turn.id]

    async def _write(self, run: Run, document: dict[str, Any]) -> None:
        for pause_s in (*_PAUSES_S, None):
            try:
                await self._store.settle(run.record, document, run.turn.asked.conversation)
                return
            except StateUnavailable as error:
                logger.warning("response not stored", response=run.turn.id, why=str(error))
                if pause_s is None:
                    logger.error("background response lost", response=run.turn.id)
                    return
                await asyncio.sleep(pause_s)

    @staticmethod
    def _note(run: Run, frames: bytes) -> None:
        if run.log is not None:
            for event in _split(frames):
                run.log.add(event)

    def _forget_logs(self) -> None:
        old_s, size = self._clock() - LOG_KEPT_S, 0
        for id_, run in reversed(list(self._ended.items())):
            size += run.log.size if run.log is not None else 0
            if (run.ended_s or 0) < old_s or size > _LOGS_BYTES:
                del self._ended[id_]


def _split(frames: bytes) -> Iterable[bytes]:
    return (event + b"\n\n" for event in frames.split(b"\n\n") if event)
