"""The events of a job as they come, as server-sent events until the job has ended."""

import asyncio
from collections.abc import AsyncIterator

import orjson
from fastapi import Request

from veneer_server.api.fine_tuning.views import to_event
from veneer_server.training.jobs.jobs import Jobs

LOOK_S = 1.0
"""The pause between two looks at the job; its trainer's words are written once a second."""
KEEP_ALIVE_S = 15.0
"""After so long without an event a comment is sent, so that no proxy ends the connection."""
_AT_ONCE = 100
_END = b"data: [DONE]\n\n"


def is_wanted(request: Request, *, stream: bool) -> bool:
    """Return whether the client wants a stream, by ``stream=true`` or by what it accepts."""
    return stream or "text/event-stream" in request.headers.get("accept", "")


class FollowedEvents:
    """The frames of what is said of one job; see ``api.streams.Frames``."""

    def __init__(self, jobs: Jobs, job_id: str, place: int, draining: asyncio.Event) -> None:
        """Begin after the event at ``place``; end also when the server is ``draining``.

        Raises:
            JobsFull: as many clients as may follow jobs already.
        """
        jobs.follow()
        self._jobs, self._job_id, self._place = jobs, job_id, place
        self._draining = draining
        self._closed = False

    async def aclose(self) -> None:
        """Give the place back to others."""
        if not self._closed:
            self._closed = True
            self._jobs.unfollow()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b": events of a fine-tuning job\n\n"
        silent_s = 0.0
        while not self._draining.is_set():
            job = await self._jobs.look(self._job_id)  # before its events: none is missed
            while frames := await self._news():
                silent_s = 0.0
                yield frames
            if job is None or job.is_over:
                yield _END
                return
            if silent_s >= KEEP_ALIVE_S:
                silent_s = 0.0
                yield b": the job goes on\n\n"
            silent_s += LOOK_S
            await self._pause()

    async def _news(self) -> bytes:
        found = await self._jobs.events_since(self._job_id, self._place, limit=_AT_ONCE)
        if found:
            self._place = found[-1][0]
        shown = ((event.id, orjson.dumps(to_event(event))) for _, event in found)
        return b"".join(b"id: %b\ndata: %b\n\n" % (each.encode(), data) for each, data in shown)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._draining.wait()
        except TimeoutError:
            return
