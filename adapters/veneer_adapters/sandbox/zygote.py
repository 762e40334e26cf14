"""The process that forks one throw-away child per adapter; ``forking`` starts it as a program.

It imports once what the children need, so a child costs a fork and no import. It reads no adapter
itself: each message on its control socket carries a number of seconds, one end of a socket pair,
and perhaps a folder that is open, with its root. On the socket the child finds its request and
leaves its answer. The process ends when the control socket closes, and its children end with it.

Rule: nobody believes or runs what a child says; see ``replies``.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.compression import compress
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.opening import OpenFolder, Place
from veneer_adapters.doctor.doctor import examine
from veneer_adapters.doctor.repair import repair
from veneer_adapters.errors import (
    AdapterError,
    AdapterRejected,
    BaseUnreadable,
    NotRepairable,
    StorageFailed,
)
from veneer_adapters.sandbox import confinement
from veneer_adapters.sandbox.grading import grade

Request = Mapping[str, Any]
_READ_BYTES = 1 << 16


def _verify(request: Request) -> dict[str, Any]:
    return asdict(verify(_place(request), _facts(request)))


def _examine(request: Request) -> dict[str, Any]:
    return asdict(examine(_place(request), _facts(request)))


def _repair(request: Request) -> dict[str, Any]:
    base = request["base"]
    where = Path(base) if base else None
    return asdict(repair(_place(request), Path(request["out"]), _facts(request), where))


def _compress(request: Request) -> dict[str, Any]:
    return asdict(compress(_place(request), Path(request["out"]), _facts(request)))


def _grade(request: Request) -> dict[str, Any]:
    return asdict(grade(request["source"], request["pairs"]))


JOBS: dict[str, Callable[[Request], dict[str, Any]]] = {
    "verify": _verify,
    "examine": _examine,
    "repair": _repair,
    "compress": _compress,
    "grade": _grade,
}


def main() -> None:
    """Serve the control socket, whose descriptor is the first argument, until it closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(b"network" if not confinement.leave_network() else b"no network")
    # Every child shares the objects that exist now; their garbage collectors must not touch them.
    gc.freeze()
    gc.disable()
    _Nursery(control).serve()


class _Nursery:
    """The children that run, each with its deadline."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ends: dict[int, tuple[int, float]] = {}
        """Descriptor of the process -> its id and its deadline on the monotonic clock."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll(self._timeout_ms()):
                if descriptor != self._control.fileno():
                    self._bury(descriptor)
                elif not self._accept():
                    return
            for pid, ends in self._ends.values():
                if ends <= time.monotonic():
                    os.kill(pid, signal.SIGKILL)

    def _timeout_ms(self) -> float | None:
        ends = [ends for _, ends in self._ends.values()]
        return max(0.0, min(ends) - time.monotonic()) * 1000 + 1 if ends else None

    def _accept(self) -> bool:
        message, received, _, _ = socket.recv_fds(self._control, 64, 3)
        if not message:
            return False
        descriptor, *folder = received
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            # A reader that was taken over must not write into the server's log.
            os.dup2(1, 2)
            for inherited in (self._control.fileno(), *self._ends):
                os.close(inherited)
            _be_child(socket.socket(fileno=descriptor), folder, parent)
        for given in received:
            os.close(given)
        process = os.pidfd_open(pid)
        self._ends[process] = (pid, time.monotonic() + float(message))
        self._poll.register(process, select.POLLIN)
        return True

    def _bury(self, process: int) -> None:
        self._poll.unregister(process)
        pid, _ = self._ends.pop(process)
        os.waitpid(pid, 0)
        os.close(process)


def _be_child(connection: socket.socket, folder: Sequence[int], parent: int) -> NoReturn:
    code = 1
    try:
        request = {**json.loads(_receive(connection)), "descriptors": folder}
        confinement.confine(confinement.Limits(**request["limits"]), parent=parent)
        connection.sendall(json.dumps(_answer(request)).encode())
        code = 0
    finally:
        # Whatever was raised: no traceback, and no clean-up of what belongs to the parent.
        os._exit(code)


def _receive(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(_READ_BYTES):
        parts.append(part)
    return b"".join(parts)


def _answer(request: Request) -> dict[str, Any]:
    try:
        return {"found": JOBS[request["job"]](request)}
    except (AdapterRejected, StorageFailed, BaseUnreadable, NotRepairable) as error:
        return _refusal(error)
    except OSError as error:
        what = os.strerror(error.errno or 5)
        return _refusal(StorageFailed(f"The adapter's files could not be read: {what}."))
    except Exception as error:
        # A limit (MemoryError, RecursionError) or a bug of Veneer; the server logs it.
        return {"crashed": type(error).__name__}


def _refusal(error: AdapterError) -> dict[str, Any]:
    return {"refused": {"reason": error.reason, "message": str(error)}}


def _place(request: Request) -> Place:
    if not request["descriptors"]:
        return Path(request["folder"])
    return OpenFolder(Path(request["folder"]), Path(request["root"]), *request["descriptors"])


def _facts(request: Request) -> BaseFacts:
    facts = request["facts"]
    modules = {name: (shape[0], shape[1]) for name, shape in facts["modules"].items()}
    return BaseFacts(**{**facts, "modules": modules})


if __name__ == "__main__":
    main()
