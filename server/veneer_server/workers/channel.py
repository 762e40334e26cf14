"""The connection between a worker and the server."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from veneer_server.workers.messages import Kind, Message, Splitter, pack


class Side(Protocol):
    """Who uses one end of a channel."""

    def take(self, told: Message) -> None:
        """Take a message."""

    def leave(self) -> None:
        """The other side is gone; called once."""


S = TypeVar("S", bound=Side)

_MOST_WAITING = 64 * 1024
"""Bytes that may wait for the end of a turn; who sends more must notice that nobody reads."""


class Channel(asyncio.Protocol):
    """Sends messages, and hands on those that come.

    What is sent within one turn of the event loop is one system call, so a step of the engine with
    many streams costs one for each worker.
    """

    def __init__(self, side: Callable[["Channel"], Side]) -> None:
        """Hand what comes to the ``side`` of this channel."""
        self._side = side(self)
        self._splitter = Splitter()
        self._transport: Any = None
        self._waiting: list[bytes] = []
        self._size = 0
        self._free = asyncio.Event()
        self._free.set()
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on each message that is complete."""
        for message in self._splitter.feed(data):
            self._side.take(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nothing more comes."""
        self._ended = True
        self._free.set()
        self._side.leave()

    def pause_writing(self) -> None:
        """The other side reads too little."""
        self._free.clear()

    def resume_writing(self) -> None:
        """It has read."""
        self._free.set()

    def is_free(self) -> bool:
        """Return whether the other side reads what is sent."""
        return self._free.is_set()

    async def until_free(self) -> None:
        """Return when the other side reads, or is gone."""
        await self._free.wait()

    def send(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Send a message; it is forgotten if the other side is gone."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(pack(kind, number, body))
        self._size += len(body)
        if self._size > _MOST_WAITING:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting and not self._ended:
            self._transport.write(b"".join(waiting))

    def close(self) -> None:
        """Send what waits, and end the connection."""
        self._flush()
        self._transport.close()


async def connect(connected: socket.socket, side: Callable[[Channel], S]) -> S:
    """Return the side that uses a channel over one end of a pair of sockets."""
    made: list[S] = []

    def make(channel: Channel) -> S:
        made.append(side(channel))
        return made[0]

    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: Channel(make), sock=connected)
    return made[0]
