"""What is written to a client that may not read: a connection's transport with a deadline.

An answer can wait for its client without end. It then holds its memory, its sequence and its
adapter's slot, which others need.
"""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from typing import Any

from veneer_server.api.http.pacing import Pacer

_LOOKS = 4
"""How often a client is looked at within its time, so a cut comes at most a quarter late."""

_MOST_HELD = 64
"""Pieces that may wait, however long the event loop is busy with something else."""

CLIENT_TIMEOUT = "client_timeout"
"""Why a request ended whose client took nothing, in its log line."""


class Patience:
    """Counts looks at a client that takes nothing. It reads no clock."""

    def __init__(self, taken: int) -> None:
        """Begin with a client that has taken so many bytes."""
        self._taken = taken
        self._idle = 0

    def is_over(self, taken: int) -> bool:
        """Look once more; return whether ``taken`` was the same at the last ``_LOOKS`` looks."""
        self._idle = self._idle + 1 if taken == self._taken else 0
        self._taken = taken
        return self._idle >= _LOOKS


class TimedTransport:
    """A transport that tells when its client has taken none of the waiting bytes for a time.

    Progress is what the client's system acknowledges. What is written says nothing, for a stream
    goes on writing until the buffers are full; and this machine's kernel takes more only when a
    third of its buffer is free, which for a slow line is too seldom.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        timeout_s: Callable[[], float],
        on_timeout: Callable[[], None],
        pacer: Pacer,
    ) -> None:
        """Call ``on_timeout`` once when no byte was taken for ``timeout_s``, or a quarter more.

        ``pacer`` says which pieces of a stream wait for the next.
        """
        self._transport = transport
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self._pacer = pacer
        self._held: list[bytes] = []
        self._wrote_s = float("-inf")
        self._written = 0
        self._watched = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write ``data`` after all pieces that wait, and watch that the client takes it."""
        if self._held:
            data = b"".join([*self._held, data])
            self._held.clear()
        self._written += len(data)
        self._transport.write(data)
        if not self._watched and self._transport.get_write_buffer_size():
            self._watched = True
            self._look_later(Patience(self._taken()))

    def write_soon(self, data: bytes) -> None:
        """Write a piece of a stream, now or with what follows."""
        now_s = asyncio.get_running_loop().time()
        may_wait = self._pacer.may_wait(now_s, self._wrote_s)
        if len(self._held) >= _MOST_HELD or not may_wait:
            self._wrote_s = now_s
            self.write(data)
            return
        if not self._held:
            self._pacer.at_end(self._flush)
        self._held.append(data)

    def _flush(self) -> None:
        if self._held:
            self._wrote_s = asyncio.get_running_loop().time()
            self.write(b"")

    def close(self) -> None:
        """Write what waits, and close."""
        self._flush()
        self._transport.close()

    def _taken(self) -> int:
        waiting = bytearray(4)
        fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
        in_kernel = int.from_bytes(waiting, sys.byteorder)
        return self._written - self._transport.get_write_buffer_size() - in_kernel

    def _look_later(self, patience: Patience) -> None:
        asyncio.get_running_loop().call_later(self._timeout_s() / _LOOKS, self._look, patience)

    def _look(self, patience: Patience) -> None:
        self._watched = self._transport.get_write_buffer_size() > 0
        if not self._watched:
            return
        if patience.is_over(self._taken()):
            self._on_timeout()
        else:
            self._look_later(patience)
