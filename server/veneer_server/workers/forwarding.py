"""The worker's side: an application that hands requests to the server, and writes the answers."""

import asyncio
from collections import deque
from itertools import count
from typing import Any

from starlette.types import Receive, Scope, Send

from veneer_server.api.http.exchanges import WRITER
from veneer_server.api.streams import Writer
from veneer_server.workers import messages
from veneer_server.workers.channel import Channel
from veneer_server.workers.messages import Kind

_MOST_HELD = 64 * 1024
"""Bytes of an answer that may wait here for its client, before the server waits too."""


class Forwarding:
    """See the module. ``take`` must get what the server says of requests."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count(1)
        self._requests: dict[int, _Request] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Return when the answer is written, or nothing more of it comes."""
        request = _Request(self._channel, next(self._numbers), scope, send)
        self._requests[request.number] = request
        self._channel.send(Kind.HEAD, request.number, messages.pack_scope(scope))
        reading = asyncio.create_task(request.read(receive))
        try:
            await request.write_all()
        finally:
            del self._requests[request.number]
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def take(self, told: messages.Message) -> None:
        """Take what the server says of a request."""
        if (request := self._requests.get(told.number)) is not None:
            request.take(told)


class _Request:
    def __init__(self, channel: Channel, number: int, scope: Scope, send: Send) -> None:
        self.number = number
        self._channel = channel
        self._scope = scope
        self._send = send
        self._may_read = asyncio.Event()
        if messages.comes_unasked(scope):
            self._may_read.set()
        self._told: deque[messages.Message] = deque()
        self._held = 0
        """Bytes in it."""
        self._full = False
        self._changed = asyncio.Event()
        self._writer: Writer | None = None

    async def read(self, receive: Receive) -> None:
        """Hand on the body, part by part as the server asks for it, and that the client left."""
        more = True
        while True:
            if more:
                await self._may_read.wait()
                self._may_read.clear()
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            more = message.get("more_body", False)
            kind = Kind.BODY if more else Kind.LAST_BODY
            self._channel.send(kind, self.number, message.get("body", b""))
        code: str = self._scope.get("state", {}).get("code", "")
        self._channel.send(Kind.GONE, self.number, code.encode())

    def take(self, told: messages.Message) -> None:
        """Write a part at once if that can be; leave everything else to ``write_all``."""
        if told.kind is Kind.READ:
            self._may_read.set()
            return
        if told.kind is Kind.PART and not self._told and self._writer and self._writer.is_free():
            self._writer.write(told.body)
            if self._writer.is_free():
                return
            self._fill()
            told = told._replace(body=b"")  # to write it waits until the client takes something
        self._told.append(told)
        self._held += len(told.body)
        if self._held > _MOST_HELD:
            self._fill()
        self._changed.set()

    def _fill(self) -> None:
        """Let the server wait until all is written that is here."""
        if not self._full:
            self._full = True
            self._channel.send(Kind.FULL, self.number)

    def _empty(self, told: messages.Message) -> None:
        self._told.popleft()  # only now: what comes meanwhile must not be written before it
        self._held -= len(told.body)
        if self._full and not self._told:
            self._full = False
            self._channel.send(Kind.FREE, self.number)

    async def write_all(self) -> None:
        """Write what comes, until the answer is complete."""
        while True:
            while not self._told:
                self._changed.clear()
                await self._changed.wait()
            told = self._told[0]
            if told.kind is Kind.BROKEN:
                return
            await self._send(self._to_message(told))
            self._empty(told)
            if told.kind is Kind.LAST_PART:
                return

    def _to_message(self, told: messages.Message) -> dict[str, Any]:
        if told.kind is Kind.START:
            begin, streams = messages.to_start(told.body)
            return {**begin, WRITER: self._write_by} if streams else begin
        more = told.kind is Kind.PART
        return {"type": "http.response.body", "body": told.body, "more_body": more}

    def _write_by(self, writer: Writer) -> None:
        self._writer = writer
