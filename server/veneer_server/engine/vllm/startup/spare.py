"""Processes of an engine that begin to import vLLM before there is anything for them to do.

That import takes a process 5 to 8 s. The gateway, the engine core and its worker each need it, and
one after the other they would leave the other cores idle meanwhile. So the gateway begins a spare
engine core first of all, and an engine core a spare worker. A spare imports and waits. When vLLM
starts a process, the spare becomes it, by what Python does in a process that was spawned: it is a
child of the same process, and gets the same environment and pipes.

Rule: a spare that is not right (it has ended, or was begun with other libraries) is dropped, and
the process is spawned as without one.
"""

import json
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import popen_spawn_posix, process, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from veneer_server.engine.vllm.startup.environs import binding

logger = logging.getLogger(__name__)

WANTED = "VENEER_SPARE_WORKER"
"""Environment variable: the name of the processes that begin a spare worker, engine cores."""
CORE = "EngineCore"
"""vLLM's name for an engine core."""
WORKER = "Worker"

IMPORTS: dict[str, Sequence[str]] = {
    CORE: ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor"),
    WORKER: ("vllm.v1.worker.cpu_worker", "veneer_server.engine.vllm.inside.worker"),
}
"""The modules that each of them needs."""
_AT_BEGINNING = ("LD_PRELOAD", "OMP_", "GOMP_", "KMP_", "TORCHINDUCTOR_")
"""How the variables begin that count when a process begins, and never again."""
_IN = "veneer_server.engine.vllm.startup.becoming"
LENGTH = struct.Struct("!Q")
"""What a spare is told begins with its length, in this form."""

_spawn, _command_line = util.spawnv_passfds, spawn.get_command_line
handed: dict[int, int] = {}
"""In a process that was a spare: its descriptors by their numbers in its parent."""


@dataclass(frozen=True, slots=True)
class _Spare:
    pid: int
    channel: socket.socket
    python: str | bytes
    at_beginning: Mapping[str, str]


_waiting: list[_Spare] = []
"""The spare of this process, until it is taken."""


def begin(name: str, environ: Mapping[str, str]) -> None:
    """Begin a spare, ``CORE`` or ``WORKER``, of the calling thread; it ends with that thread.

    ``environ`` is what it has until it is taken. A process has one spare at most.
    """
    if _waiting or not sys.platform.startswith("linux"):
        return
    python = spawn.get_executable()
    try:
        pid, channel = _begin(name, environ, python)
    except OSError as error:
        logger.warning("A process could not be begun early: %s.", error)
    else:
        _waiting.append(_Spare(pid, channel, python, _read_at_beginning(environ)))


def _begin(name: str, environ: Mapping[str, str], python: Any) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    told = name, os.getpid(), theirs.fileno(), IMPORTS
    code = f"import sys; sys.path[:] = {sys.path!r}; from {_IN} import become; become{told!r}"
    flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    with ExitStack() as stack:
        stack.callback(ours.close)
        stack.enter_context(theirs)
        # As a process that is spawned, it gets nothing of what the gateway was started with.
        closed = [(os.POSIX_SPAWN_CLOSE, number) for number in _inheritable()]
        theirs.set_inheritable(True)
        command = [python, *flags, "-c", code]
        pid = os.posix_spawn(python, command, environ, file_actions=closed)
        stack.pop_all()
        theirs.close()
    return pid, ours


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def begin_worker(name: str) -> None:
    """Begin a spare worker if processes with this ``name``, which is ours, shall have one."""
    bound = binding(os.environ)
    if name == os.environ.get(WANTED) and bound is not None:
        begin(WORKER, {**os.environ, **bound})
    else:
        drop()


def drop() -> None:
    """End the spare of this process, if it is still there."""
    while _waiting:
        spare = _waiting.pop()
        spare.channel.close()
        with suppress(ProcessLookupError):
            os.kill(spare.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(spare.pid, 0)


@contextmanager
def taking_spare(module: Any) -> Iterator[None]:
    """Let the first process that vLLM's ``module`` starts in the block be the spare, if any.

    After the block there is no spare.
    """
    if not _waiting:
        yield
        return
    try:
        with _replaced(module, "get_mp_context", _Context):
            yield
    finally:
        drop()


class _Handed:
    """A descriptor as it is pickled for a spare."""

    def __init__(self, number: int) -> None:
        self._number = number

    def detach(self) -> int:
        """Return its number in the spare; in a process that is spawned it stays the same."""
        return handed.get(self._number, self._number)


class _Popen(popen_spawn_posix.Popen):
    DupFd = _Handed  # type: ignore[assignment]  # it needs no more than this one method

    def _launch(self, process_obj: Any) -> None:
        resource_tracker.ensure_running()  # it is spawned too
        with (
            _replaced(spawn, "get_command_line", lambda **named: named),
            _replaced(util, "spawnv_passfds", _hand_over),
        ):
            super()._launch(process_obj)  # type: ignore[misc]  # as ``popen_fork`` does


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802 - Python's name
        return (_Popen if _waiting else popen_spawn_posix.Popen)(process_obj)


class _Context(SpawnContext):
    Process = _Process


def _hand_over(path: bytes, named: Mapping[str, int], descriptors: Sequence[int]) -> int:
    """Give the spare what Python would give a process that it spawns; return its process id.

    Spawn that process if the spare is not right.
    """
    [spare] = _waiting
    now = _read_at_beginning(os.environ)
    try:
        if path != spare.python:
            raise OSError("it is another program")
        if others := sorted(dict(now.items() ^ spare.at_beginning.items())):
            raise OSError(f"it has another {', '.join(others)}")
        told = json.dumps((named, list(descriptors), dict(os.environ))).encode()
        socket.send_fds(spare.channel, [LENGTH.pack(len(told))], descriptors)
        spare.channel.sendall(told)
    except OSError as error:
        logger.warning("A process that was begun early is not used: %s.", error)
        drop()
        return _spawn(path, _command_line(**named), descriptors)
    spare.channel.close()
    _waiting.clear()
    return spare.pid


def _read_at_beginning(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_AT_BEGINNING)}


@contextmanager
def _replaced(module: Any, name: str, value: Callable[..., Any]) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
