"""Answers that end early when the client hangs up or when the drain deadline passes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from veneer_server.api.errors import ShuttingDown, report, to_api_error, to_event
from veneer_server.api.http.exchanges import WRITER
from veneer_server.engine.base import Take
from veneer_server.engine.lives import close_unused

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection, so nobody waits for the answer."""


async def run_until_gone(
    work: Coroutine[Any, Any, T], receive: Receive, deadline: asyncio.Event
) -> T:
    """Return what ``work`` returns, unless the client leaves or the deadline passes first.

    ``work`` has ended when this function returns or raises.

    Raises:
        ClientGone: the client closed the connection.
        ShuttingDown: the deadline passed.
    """
    tasks = [asyncio.create_task(c) for c in (work, _disconnect(receive), deadline.wait())]
    running, gone, late = tasks
    taken = False
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            taken = True
            return running.result()  # type: ignore[return-value]
        if gone.done():
            raise ClientGone
        raise ShuttingDown("The server is shutting down; send the request again.")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not taken:
            await close_unused(running)
        del late


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Frames(Protocol):
    """Events that somebody must close."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield each event."""

    async def aclose(self) -> None:
        """End what makes the events; a second call does nothing."""


class Writer(Protocol):
    """Writes parts of an answer's body to its client."""

    def is_free(self) -> bool:
        """Return whether a part can be written now."""

    def write(self, body: bytes) -> None:
        """Write a part."""


class EventStream(Response):
    """Sends ``Frames`` as server-sent events, and closes it whatever happens."""

    media_type = "text/event-stream"

    def __init__(
        self,
        stream: Frames,
        convert: Callable[[bytes], bytes],
        deadline: asyncio.Event,
        headers: dict[str, str],
        name_error: Callable[[Exception], None] = lambda error: None,
        divert: Callable[[Take | None], None] = lambda take: None,
    ) -> None:
        """Send what ``convert`` returns; ``name_error`` puts an error in the client's words.

        ``divert`` gets what sends an event at once, as ``serving.requests.Stream`` says.
        """
        super().__init__(headers={**headers, "cache-control": "no-cache"})
        self._stream = stream
        self._convert = convert
        self._deadline = deadline
        self._name_error = name_error
        self._divert = divert
        self._writer: Writer | None = None
        self._sent = 0
        # The length of a stream is not known when it begins.
        self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every event. After an error, send the error as the last event."""
        try:
            await run_until_gone(self._send_all(send), receive, self._deadline)
        except ClientGone:
            return
        except Exception as error:
            self._name_error(error)
            api_error = to_api_error(error)
            state = scope.setdefault("state", {})
            report(error, api_error, state)
            last = to_event(api_error, scope["path"], self._sent, state.get("request_id"))
            await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            await self._stream.aclose()

    async def _send_all(self, send: Send) -> None:
        begin = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send({**begin, WRITER: self._write_by})
            async for frame in self._stream:
                body = self._converted(frame)
                if self._writer is not None and self._writer.is_free():
                    self._writer.write(body)
                else:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            self._divert(None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _write_by(self, writer: Writer) -> None:
        self._writer = writer
        self._divert(self._take)

    def _take(self, frame: bytes) -> bool:
        if self._writer is None or not self._writer.is_free():
            return False
        self._writer.write(self._converted(frame))
        return True

    def _converted(self, frame: bytes) -> bytes:
        body = self._convert(frame)
        self._sent += body.count(b"\n\n")  # JSON escapes a newline inside of a text
        return body
