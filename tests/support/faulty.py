"""A server that misbehaves byte by byte, and one that only counts who comes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Answers a request for a path; the connection is closed afterwards."""


@dataclass
class Faulty:
    """A running server and what it saw."""

    port: int = 0
    connections: int = 0
    paths: list[str] = field(default_factory=list)


@asynccontextmanager
async def serve(answer: Answer, trust: ssl.SSLContext | None = None) -> AsyncIterator[Faulty]:
    """Serve ``answer`` on a free port of 127.0.0.1; every connection ends with the block."""
    faulty, open_tasks = Faulty(), set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        faulty.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            faulty.paths.append(path)
            await answer(path, writer)
            await writer.drain()
        # Abort, not close: a TLS farewell would wait for a client that has gone.
        if writer.transport.get_write_buffer_size():
            await asyncio.sleep(0)
        writer.close()
        open_tasks.discard(task)

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=trust)
    faulty.port = server.sockets[0].getsockname()[1]
    try:
        yield faulty
    finally:
        server.close()
        for task in list(open_tasks):
            task.cancel()
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=5)


async def canary(path: str, writer: asyncio.StreamWriter) -> None:
    """Answer as something inside would; whoever gets this was let through."""
    writer.write(head(200, length=6) + b"secret")


def head(status: int, *, length: int | None = None, **headers: str) -> bytes:
    """Return the head of an answer; underscores in header names stand for dashes."""
    lines = [f"HTTP/1.1 {status} Status", "Connection: close"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
