"""A TCP proxy between a client and a server, which spoils what the server sends."""

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_AT_ONCE = 1 << 14
_TURNS = 8
"""A connection that was accepted last needs a few turns of the loop until its task has begun."""
_ABORT = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What happens to the bytes of each connection on their way to the client.

    The places are counted in bytes from the connection's beginning.
    """

    latency_s: float = 0.0
    """Each piece arrives so much later."""
    bytes_per_s: float = float("inf")
    flip_at: int | None = None
    """All bits of this byte are turned over."""
    cut_at: int | None = None
    """Here the connection ends, as if the server had closed it."""
    reset_at: int | None = None
    """Here it is reset."""
    swallow_at: int | None = None
    """From here on nothing arrives, and the connection stays open."""

    @property
    def passed(self) -> int:
        """How many bytes may arrive."""
        ends = (self.cut_at, self.reset_at, self.swallow_at)
        return min((at for at in ends if at is not None), default=sys.maxsize)


@dataclass
class Proxy:
    """A running proxy; ``fault`` may be exchanged, for connections that come later."""

    fault: Fault
    port: int = 0
    connections: int = 0


@asynccontextmanager
async def proxied(port: int, fault: Fault | None) -> AsyncIterator[Proxy]:
    """Stand before the server at ``port`` of 127.0.0.1; every connection ends with the block.

    Without a fault nothing stands there: the port is the server's own.
    """
    if fault is None:
        yield Proxy(Fault(), port)
        return
    proxy, tasks = Proxy(fault), set[asyncio.Task[None]]()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        proxy.connections += 1
        with suppress(ConnectionError, asyncio.CancelledError):
            await _between(reader, writer, port, proxy.fault)
        writer.transport.abort()
        tasks.discard(task)

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


async def _between(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, fault: Fault
) -> None:
    behind, to_server = await asyncio.open_connection("127.0.0.1", port)
    asking = asyncio.create_task(_pass_on(reader, to_server))
    try:
        await _spoil(behind, writer, fault)
    finally:
        asking.cancel()
        await asyncio.wait([asking])
        to_server.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(_AT_ONCE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


async def _spoil(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
    seen = 0
    while seen < fault.passed:
        piece = bytearray(await reader.read(min(_AT_ONCE, fault.passed - seen)))
        if not piece:
            await _close(writer)
            return
        if fault.flip_at is not None and 0 <= fault.flip_at - seen < len(piece):
            piece[fault.flip_at - seen] ^= 0xFF
        seen += len(piece)
        await _slowly(writer, bytes(piece), fault)
    await _end(writer, fault)


async def _slowly(writer: asyncio.StreamWriter, piece: bytes, fault: Fault) -> None:
    await asyncio.sleep(fault.latency_s + len(piece) / fault.bytes_per_s)
    writer.write(piece)
    await writer.drain()


async def _end(writer: asyncio.StreamWriter, fault: Fault) -> None:
    if fault.passed == fault.swallow_at:
        await asyncio.Event().wait()
    if fault.passed == fault.reset_at:
        place = writer.get_extra_info("socket")
        place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    else:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Send what is left, and end the connection as a server does."""
    writer.close()
    await writer.wait_closed()
