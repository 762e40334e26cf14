"""An application behind a worker's way to it, in one process: over a real pair of sockets."""

import asyncio
import socket
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from veneer_server.workers.answering import Answering
from veneer_server.workers.channel import Channel, connect
from veneer_server.workers.forwarding import Forwarding
from veneer_server.workers.messages import Message

forwarding: ContextVar[bool] = ContextVar("forwarding", default=False)
"""Whether servers in this process get their requests by way of a worker."""


class _Server:
    """The server's end."""

    def __init__(self, channel: Channel, app: ASGIApp) -> None:
        self._answering = Answering(app, channel, set())
        self.take = self._answering.take

    def leave(self) -> None:
        """Nothing has to be done: both ends go together."""


class _Worker:
    """The worker's end."""

    def __init__(self, channel: Channel) -> None:
        self.app = Forwarding(channel)

    def take(self, told: Message) -> None:
        """Take what the server says."""
        self.app.take(told)

    def leave(self) -> None:
        """Nothing has to be done: both ends go together."""


class Forwarded:
    """Answers as ``app``, which gets each request by way of a worker."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._worker: _Worker | None = None
        self._opening = asyncio.Lock()
        self._channels: list[Channel] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request."""
        async with self._opening:
            await self._open()
        assert self._worker is not None
        await self._worker.app(scope, receive, send)

    async def _open(self) -> None:
        if self._worker is None:
            ours, theirs = socket.socketpair()
            await connect(ours, lambda channel: _Server(self._opened(channel), self._app))
            self._worker = await connect(theirs, lambda channel: _Worker(self._opened(channel)))

    def _opened(self, channel: Channel) -> Channel:
        self._channels.append(channel)
        return channel

    async def close(self) -> None:
        """End the connection."""
        for channel in self._channels:
            channel.close()
        await asyncio.sleep(0)
