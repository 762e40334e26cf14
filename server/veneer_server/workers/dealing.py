"""New connections go to the workers in turn, each as an open socket.

The server alone accepts. So no connection waits for a process that is gone, each worker gets as
many as the others, and the address is taken once, as without workers.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from starlette.types import ASGIApp

from veneer_server.api.listener import Listener

logger = structlog.get_logger(__name__)

_AT_ONCE = 64
"""Connections that are accepted before the event loop does other work."""
_PAUSE_S = 1.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Adopting(Listener):
    """Serves connections that somebody else has accepted."""

    _adopted: set[asyncio.Task[None]]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Be ready for ``adopt``."""
        self._adopted = set()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, what was adopted just now too."""
        await asyncio.gather(*self._adopted)
        await super().shutdown(sockets)

    def adopt(self, connection: socket.socket) -> None:
        """Serve ``connection``."""
        task = asyncio.create_task(self._adopt(connection))
        self._adopted.add(task)
        task.add_done_callback(self._adopted.discard)

    async def _adopt(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError as error:  # its client has gone
            connection.close()
            logger.debug("connection lost", why=error.strerror)

    def _protocol(self) -> asyncio.Protocol:
        kind: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class Dealing(Adopting):
    """Accepts, where it is told to serve. What it cannot hand on it serves itself."""

    def __init__(
        self, app: ASGIApp, hands: Callable[[], Sequence[socket.socket]], **listeners: Any
    ) -> None:
        """Hand connections on by ``hands()``, the sockets of the workers that take some."""
        super().__init__(app, **listeners)
        self._hands = hands
        self._turn = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on ``sockets``."""
        await super().startup([])
        for listening in sockets or ():
            listening.setblocking(False)
            self._watch(listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and end as without workers."""
        for listening in sockets or ():
            asyncio.get_running_loop().remove_reader(listening)
        await super().shutdown(sockets)

    def _watch(self, listening: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                logger.error("no connection can be accepted", why=error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_PAUSE_S, self._watch, listening)
                return
            self._deal(connection)

    def _deal(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hands := self._hands():
            self._turn += 1
            if _hand_on(hands[self._turn % len(hands)], connection):
                connection.close()
                return
        self.adopt(connection)


def _hand_on(hand: socket.socket, connection: socket.socket) -> bool:
    try:
        socket.send_fds(hand, [b"."], [connection.fileno()])
    except OSError:  # the worker is gone, or takes none
        return False
    return True


def take(hand: socket.socket) -> socket.socket | None:
    """Return the next connection that was handed on, None if there is none now."""
    try:
        _, descriptors, _, _ = socket.recv_fds(hand, 1, 1)
    except OSError:
        return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None
