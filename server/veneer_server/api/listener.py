"""uvicorn with Veneer's rules for a stop.

The first signal drains the server, which then exits with 0. A second signal stops it at once.
"""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

_BACKSTOP_S = 5
"""Seconds after the drain deadline until uvicorn itself cancels what is left."""


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


class Listener(uvicorn.Server):
    """Serves an application until SIGTERM or SIGINT, then lets running requests finish.

    ``draining`` is set at the first signal, ``deadline`` after ``drain_timeout_s`` seconds more.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        draining: asyncio.Event,
        deadline: asyncio.Event,
        drain_timeout_s: float,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=int(drain_timeout_s) + _BACKSTOP_S,
            )
        )
        self._draining = draining
        self._deadline = deadline
        self._drain_timeout_s = drain_timeout_s

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and do not raise it again, because a requested stop is a success."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for wanted in signals:
            loop.add_signal_handler(wanted, self.request_stop)
        try:
            yield
        finally:
            for wanted in signals:
                loop.remove_signal_handler(wanted)

    def request_stop(self) -> None:
        """Begin to drain; the second call stops the server now."""
        if self.should_exit:
            self._deadline.set()
            self.force_exit = True
            return
        self.should_exit = True
        self._draining.set()
        asyncio.get_running_loop().call_later(self._drain_timeout_s, self._deadline.set)
