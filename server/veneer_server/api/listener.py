"""uvicorn with Veneer's rules for a stop.

The first signal drains the server, which then exits with 0. A second signal stops it at once.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from veneer_server.api.http.connections import Connection
from veneer_server.api.http.pacing import Pacer
from veneer_server.settings import Settings

_GOODBYE_S = 0.2
"""Seconds after the drain deadline in which the last events may still be sent."""

_OTHER_FILES = 512
"""Open files that are no connections: those of the catalog, the store, the engine's sockets."""


class PortTaken(Exception):
    """The server cannot listen on the configured address; most often another program does."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to ``host`` and ``port``; 0 means any free port.

    Callers bind before they start the engine, so that a taken port ends the start at once.

    Raises:
        PortTaken: the address is in use, or this process may not bind it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


def allow_open_files(connections: int) -> None:
    """Let this process have so many connections beside its files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Listener(uvicorn.Server):
    """Serves an application until SIGTERM or SIGINT, then lets running requests finish.

    ``draining`` is set at the first signal, ``deadline`` after ``server.drain_timeout_s`` more.
    Clients that read nothing then hold the server up no longer. ``settings`` returns the settings
    as they are now.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        draining: asyncio.Event,
        deadline: asyncio.Event,
        settings: Callable[[], Settings],
        on_hangup: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve ``app``; ``on_stop`` is called at each ``request_stop``."""
        server = settings().server
        pacer = Pacer(server.stream_interval_ms / 1000)
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(Any, partial(Connection, lambda: settings().limits, pacer)),
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=cast(int, server.keep_alive_s),
                timeout_graceful_shutdown=ceil(server.drain_timeout_s + 2 * _GOODBYE_S),
            )
        )
        self._draining = draining
        self._deadline = deadline
        self._on_hangup = on_hangup
        self._on_stop = on_stop
        self._drain_timeout_s = server.drain_timeout_s

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and do not raise it again, because a requested stop is a success.

        SIGHUP stops nothing: it calls ``on_hangup``.
        """
        loop = asyncio.get_running_loop()
        hangup = signal.getsignal(signal.SIGHUP)
        todo = {
            signal.SIGTERM: self.request_stop,
            signal.SIGINT: self.request_stop,
            signal.SIGHUP: self._on_hangup,
        }
        for wanted, act in todo.items():
            loop.add_signal_handler(wanted, act)
        try:
            yield
        finally:
            for wanted in todo:
                loop.remove_signal_handler(wanted)
            signal.signal(signal.SIGHUP, hangup)

    def request_stop(self) -> None:
        """Begin to drain; the second call stops the server now."""
        self._on_stop()
        if self.should_exit:
            self._deadline.set()
            self.force_exit = True
            return
        self.should_exit = True
        self._draining.set()
        loop = asyncio.get_running_loop()
        loop.call_later(self._drain_timeout_s, self._deadline.set)
        loop.call_later(self._drain_timeout_s + _GOODBYE_S, self._hang_up)

    def leave(self) -> None:
        """End every connection, and stop now."""
        self.should_exit = self.force_exit = True
        self._hang_up()

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
