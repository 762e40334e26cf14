"""The server's side: the application answers the requests that one worker has read."""

import asyncio
from collections import deque
from typing import Any

import structlog
from starlette.types import ASGIApp, Message

from veneer_server.api.http.exchanges import WRITER
from veneer_server.workers import messages
from veneer_server.workers.channel import Channel
from veneer_server.workers.messages import Kind

logger = structlog.get_logger(__name__)

_NO_MORE: Message = {"type": "http.disconnect"}


class Answering:
    """Runs the application for each request of a worker."""

    def __init__(self, app: ASGIApp, channel: Channel, tasks: set[asyncio.Task[None]]) -> None:
        """Let ``app`` answer; ``tasks`` has what is being answered, for who waits for the end."""
        self._app = app
        self._channel = channel
        self._requests: dict[int, Forwarded] = {}
        self._tasks = tasks

    def take(self, told: messages.Message) -> None:
        """Take what the worker tells of a request."""
        if told.kind is Kind.HEAD:
            request = Forwarded(self._channel, told.number, messages.to_scope(told.body))
            self._requests[told.number] = request
            task = asyncio.create_task(self._answer(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif (known := self._requests.get(told.number)) is not None:
            known.take(told)

    def leave(self) -> None:
        """Tell each request of a worker that is gone that its client has left."""
        for request in self._requests.values():
            request.leave("")

    async def _answer(self, request: "Forwarded") -> None:
        try:
            await self._app(request.scope, request.receive, request.send)
        except Exception:
            logger.exception("a request of a worker failed")
        finally:
            request.finish()
            del self._requests[request.number]


class Forwarded:
    """One request that a worker has read; what the application sees of it."""

    def __init__(self, channel: Channel, number: int, scope: dict[str, Any]) -> None:
        self.number = number
        self.scope = scope
        self._channel = channel
        self._parts: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._asked = messages.comes_unasked(scope)
        self._read = self._gone = self._complete = False

    def take(self, told: messages.Message) -> None:
        """Take what the worker tells."""
        match told.kind:
            case Kind.BODY | Kind.LAST_BODY:
                more = told.kind is Kind.BODY
                self._parts.append({"type": "http.request", "body": told.body, "more_body": more})
                self._read, self._asked = not more, False
                self._changed.set()
            case Kind.GONE:
                self.leave(told.body.decode())
            case Kind.FULL:
                self._free.clear()
            case Kind.FREE:
                self._free.set()

    def leave(self, code: str) -> None:
        """The client is gone; ``code`` says why, if the worker knows."""
        if code and not self._complete:
            self.scope["state"]["code"] = code
        self._gone = True
        self._changed.set()
        self._free.set()

    async def receive(self) -> Message:
        """Return the next part of the body, and later that the client has left."""
        while not self._parts:
            if self._gone or self._complete:
                return _NO_MORE
            if not (self._read or self._asked):
                self._asked = True
                self._channel.send(Kind.READ, self.number)
            self._changed.clear()
            await self._changed.wait()
        return self._parts.popleft()

    async def send(self, message: Message) -> None:
        """Let the worker write a part of the answer."""
        if not self.is_free():
            await self._free.wait()
            await self._channel.until_free()
        if self._gone or self._complete:
            return
        if message["type"] == "http.response.start":
            take, headers = message.get(WRITER), list(message.get("headers", ()))
            body = messages.pack_start(message["status"], headers, streams=take is not None)
            self._channel.send(Kind.START, self.number, body)
            if take is not None:
                take(self)
            return
        self._complete = not message.get("more_body", False)
        kind = Kind.LAST_PART if self._complete else Kind.PART
        self._channel.send(kind, self.number, message.get("body", b""))
        if self._complete:
            self._changed.set()

    def is_free(self) -> bool:
        """Return whether a part can be written now."""
        is_over = self._gone or self._complete
        return self._free.is_set() and self._channel.is_free() and not is_over

    def write(self, body: bytes) -> None:
        """Write a part, as ``send`` would; only while ``is_free``."""
        self._channel.send(Kind.PART, self.number, body)

    def finish(self) -> None:
        """Nothing more comes."""
        if not self._complete:
            self._channel.send(Kind.BROKEN, self.number)
            self.leave("")
