"""HTTP as bytes, for requests that no client would send."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson


@dataclass(frozen=True)
class Answer:
    """One answer of a server."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of the first header ``name``, which is in lower case."""
        return next((value for found, value in self.headers if found == name), None)

    @property
    def error(self) -> dict[str, object]:
        """What the answer says is wrong."""
        found: dict[str, object] = orjson.loads(self.body)["error"]
        return found


class Wire:
    """A connection on which a test writes and reads bytes; each wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def port(self) -> int:
        """Our port."""
        found: int = self._writer.get_extra_info("sockname")[1]
        return found

    async def send(self, data: bytes) -> None:
        """Write ``data``."""
        self._writer.write(data)
        await asyncio.wait_for(self._writer.drain(), 10)

    async def some(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        return await asyncio.wait_for(self._reader.readexactly(size), 10)

    async def rest(self) -> bytes:
        """Return everything until the server closes."""
        return await asyncio.wait_for(self._reader.read(), 10)

    async def answer(self, *, to: str = "GET") -> Answer:
        """Return the next answer, whose body is as long as it says; after HEAD there is none."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        status, headers = _parse(head)
        size = 0 if to == "HEAD" else int(dict(headers).get("content-length", 0))
        return Answer(status, headers, await asyncio.wait_for(self._reader.readexactly(size), 10))


def _parse(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    return int(first.split(" ")[1]), [(name.lower(), value) for name, value in pairs]


@asynccontextmanager
async def connect(url: str, *, receive_bytes: int | None = None) -> AsyncIterator[Wire]:
    """Open a connection to the server at ``url``; it is closed after the block.

    ``receive_bytes`` is how much the kernel keeps for a client that does not read; asyncio keeps
    as much again.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    own = socket.socket()
    own.setblocking(False)
    if receive_bytes is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(own, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=own, limit=receive_bytes or 2**16)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def ask(url: str, request: bytes) -> Answer:
    """Send ``request`` on a connection of its own and return the first answer."""
    async with connect(url) as wire:
        await wire.send(request)
        return await wire.answer(to=request.split(b" ", 1)[0].decode("latin-1"))
