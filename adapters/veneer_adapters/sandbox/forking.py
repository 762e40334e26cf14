"""The server's end of ``zygote``: a process that forks one throw-away child for each request."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from veneer_adapters.errors import StorageFailed

logger = logging.getLogger(__name__)

_MAX_ANSWER_BYTES = 4 << 20
_GRACE_S = 5.0
"""How long the server waits for a child's answer beyond the child's own deadline."""
_START_S = 60.0
_MOMENT_S = 0.2


class ZygoteGone(Exception):
    """The process that forks is gone; the caller can start another one."""


class Zygote:
    """The running ``veneer_adapters.sandbox.zygote``. Any thread may call any method."""

    def __init__(self) -> None:
        """Start the process and return when it can fork.

        Raises:
            StorageFailed: it does not start.
        """
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_START_S)
        with theirs:
            try:
                self._process = _start(theirs.fileno())
            except OSError as error:
                self._control.close()
                raise _not_started() from error
        self._greet()

    def _greet(self) -> None:
        try:
            greeting = self._control.recv(64)
        except OSError:
            greeting = b""
        if not greeting:
            self.close()
            raise _not_started()
        if greeting != b"no network":
            logger.warning("adapters are read with access to the network: no permission to leave")

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def survived(self) -> bool:
        """Return whether the process still runs a moment after one of its children ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_MOMENT_S)
        return self.is_alive()

    def exchange(self, request: bytes, descriptors: Sequence[int], wall_s: float) -> bytes:
        """Return what one child answered to ``request``; empty when the child was ended first.

        The child gets the ``descriptors``, at most two, which must stay open until it answers.

        Raises:
            ZygoteGone: there is no process to fork the child.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                try:
                    passed = [theirs.fileno(), *descriptors]
                    socket.send_fds(self._control, [f"{wall_s}".encode()], passed)
                except OSError as error:
                    raise ZygoteGone from error
            ends = time.monotonic() + wall_s + _GRACE_S
            with suppress(OSError):
                ours.settimeout(wall_s + _GRACE_S)
                ours.sendall(request)
                ours.shutdown(socket.SHUT_WR)
                return _receive(ours, ends)
        return b""

    def close(self) -> None:
        """End the process and its children; return when it is gone."""
        self._control.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _start(control: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-s", "-S", "-m", "veneer_adapters.sandbox.zygote", str(control)],
        env=_environment(),
        pass_fds=[control],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Ctrl-C in the server's terminal must not reach this process.
        start_new_session=True,
    )


def _not_started() -> StorageFailed:
    return StorageFailed("The process that reads adapters could not be started.")


def _environment() -> dict[str, str]:
    # Nothing of the server's environment: a reader that was taken over must find no key here.
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        # A process that forks must have one thread.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _receive(connection: socket.socket, ends: float) -> bytes:
    answer = bytearray()
    while part := connection.recv(1 << 16):
        answer += part
        if len(answer) > _MAX_ANSWER_BYTES:
            return b""
        connection.settimeout(max(0.001, ends - time.monotonic()))
    return bytes(answer)
