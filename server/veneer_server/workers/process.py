"""The process of a worker: ``python -m veneer_server.workers.process CHANNEL HAND``.

Both are descriptors of sockets that the server made: for messages, and for connections. It ends
when the server drains it, or is gone.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import uvloop
from starlette.types import ASGIApp

from veneer_server.api.listener import allow_open_files
from veneer_server.collecting import exempt_what_lives
from veneer_server.settings import Settings
from veneer_server.telemetry import logs
from veneer_server.turns import shorten_turns
from veneer_server.workers.channel import Channel, connect
from veneer_server.workers.dealing import Adopting, take
from veneer_server.workers.forwarding import Forwarding
from veneer_server.workers.messages import Kind, Message

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class WorkerListener(Adopting):
    """Serves the connections that come by ``hand``, until the server says that it must end."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Callable[[], Settings],
        hand: socket.socket,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(app, draining=asyncio.Event(), deadline=asyncio.Event(), settings=settings)
        self._hand = hand
        self._on_started = on_started

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Capture none: signals are the server's."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections, and tell."""
        await super().startup(sockets)
        self._hand.setblocking(False)
        asyncio.get_running_loop().add_reader(self._hand, self._take)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take those that were handed on already, and end."""
        self._take()
        asyncio.get_running_loop().remove_reader(self._hand)
        await super().shutdown(sockets)

    def _take(self) -> None:
        while (connection := take(self._hand)) is not None:
            self.adopt(connection)


class Worker:
    """One worker: what the server tells it, and what it serves."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._forwarding = Forwarding(channel)
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settings: Settings
        self._listener: WorkerListener | None = None

    async def run(self, hand: socket.socket) -> None:
        """Serve what comes by ``hand`` until the server drains this worker, or is gone."""
        await self._told
        settings = self._settings
        logs.configure(settings.observability.log_level, settings.observability.log_format)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        allow_open_files(settings.limits.max_connections)
        self._listener = WorkerListener(
            self._forwarding,
            lambda: self._settings,
            hand,
            partial(self._channel.send, Kind.READY, 0),
        )
        exempt_what_lives()
        shorten_turns()
        await self._listener.serve(sockets=[])
        self._channel.close()

    def take(self, told: Message) -> None:
        """Take what the server tells."""
        match told.kind:
            case Kind.SETTINGS:
                self._set(Settings.model_validate_json(told.body))
            case Kind.PING:
                self._channel.send(Kind.PONG, 0)
            case Kind.DRAIN:
                self._drain()
            case _:
                self._forwarding.take(told)

    def _set(self, settings: Settings) -> None:
        self._settings = settings
        logging.getLogger().setLevel(settings.observability.log_level.upper())
        if not self._told.done():
            self._told.set_result(None)

    def _drain(self) -> None:
        if self._listener is None:
            sys.exit(0)
        self._listener.request_stop()

    def leave(self) -> None:
        """End: the server is gone."""
        if self._listener is None:
            sys.exit(1)
        self._listener.leave()


def main() -> None:
    """Be a worker."""
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    channel, hand = (socket.socket(fileno=int(text)) for text in sys.argv[1:])
    uvloop.run(_run(channel, hand))


async def _run(channel: socket.socket, hand: socket.socket) -> None:
    worker = await connect(channel, Worker)
    await worker.run(hand)


if __name__ == "__main__":
    main()
