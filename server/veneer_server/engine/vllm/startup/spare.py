"""Processes of an engine that begin to import vLLM before there is anything for them to do.

That import takes a process 5 to 8 s. The gateway, the engine core and its worker each need it, and
one after the other they would leave the other cores idle meanwhile. So the gateway begins a spare
engine core first of all, and an engine core a spare worker. A spare imports and waits. When vLLM
starts a process, the spare becomes it, by what Python does in a process that was spawned: it is a
child of the same process, and gets the same environment and pipes.

Rule: a spare that is not right (it has ended, or was begun with other libraries) is dropped, and
the process is spawned as without one.
"""

import gc
import json
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import popen_spawn_posix, process, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, NoReturn

from veneer_server.engine.vllm.startup.environs import binding
from veneer_server.engine.vllm.startup.parents import die_with

logger = logging.getLogger(__name__)

WANTED = "VENEER_SPARE_WORKER"
"""Environment variable: the name of the processes that begin a spare worker, engine cores."""
CORE = "EngineCore"
"""vLLM's name for an engine core."""
WORKER = "Worker"

_IMPORTS: dict[str, Sequence[str]] = {
    CORE: ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor"),
    WORKER: ("vllm.v1.worker.cpu_worker", "veneer_server.engine.vllm.inside.worker"),
}
_AT_BEGINNING = ("LD_PRELOAD", "OMP_", "GOMP_", "KMP_", "TORCHINDUCTOR_")
"""How the variables begin that count when a process begins, and never again."""
_MOST_FDS = 64
_LENGTH = struct.Struct("!Q")

_spawn, _command_line = util.spawnv_passfds, spawn.get_command_line
_handed: dict[int, int] = {}
"""In a process that was a spare: its descriptors by their numbers in its parent."""


@dataclass(frozen=True, slots=True)
class _Spare:
    pid: int
    channel: socket.socket
    at_beginning: Mapping[str, str]


_waiting: list[_Spare] = []
"""The spare of this process, until it is taken."""


def begin(name: str, environ: Mapping[str, str]) -> None:
    """Begin a spare, ``CORE`` or ``WORKER``, of the calling thread; it ends with that thread.

    ``environ`` is what it has until it is taken. A process has one spare at most.
    """
    if _waiting or not sys.platform.startswith("linux"):
        return
    ours, theirs = socket.socketpair()
    told = name, os.getpid(), theirs.fileno(), _IMPORTS
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import become; become{told!r}"
    flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    with theirs:
        theirs.set_inheritable(True)
        python = spawn.get_executable()
        pid = os.posix_spawn(python, [python, *flags, "-c", code], environ)
    _waiting.append(_Spare(pid, ours, _read_at_beginning(environ)))


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


def become(name: str, parent: int, channel: int, imports: Mapping[str, Sequence[str]]) -> NoReturn:
    """Import what ``name`` needs, wait until ``parent`` starts such a process, be that, and end.

    ``imports`` are the modules of every spare.

    Nothing is collected until the process has begun.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it is taken, Ctrl-C is not for it
    die_with(parent)
    _close_but(channel)
    _IMPORTS.update(imports)
    begin_worker(name)
    _find_title()
    for module in _IMPORTS[name]:
        import_module(module)
    pipe, tracker = _receive(socket.socket(fileno=channel))
    resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(spawn._main(pipe, os.dup(pipe)))


class _Handed:
    """A descriptor as it is pickled for a spare."""

    def __init__(self, number: int) -> None:
        self._number = number

    def detach(self) -> int:
        """Return its number in the spare; in a process that is spawned it stays the same."""
        return _handed.get(self._number, self._number)


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
        if others := sorted(dict(now.items() ^ spare.at_beginning.items())):
            raise OSError(f"it has another {', '.join(others)}")
        told = json.dumps((named, list(descriptors), dict(os.environ))).encode()
        socket.send_fds(spare.channel, [_LENGTH.pack(len(told))], descriptors)
        spare.channel.sendall(told)
    except OSError as error:
        logger.warning("A process that was begun early is not used: %s.", error)
        drop()
        return _spawn(path, _command_line(**named), descriptors)
    spare.channel.close()
    _waiting.clear()
    return spare.pid


def _receive(channel: socket.socket) -> tuple[int, int]:
    """Take over the descriptors and the environment; return Python's pipe and its tracker."""
    length, descriptors, *_ = socket.recv_fds(channel, _LENGTH.size, _MOST_FDS)
    if not length:
        sys.exit()  # nobody needs this process
    with channel, channel.makefile("rb") as file:
        named, numbers, environ = json.loads(file.read(*_LENGTH.unpack(length)))
    _handed.update(zip(numbers, descriptors, strict=True))
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)
    return _handed[named["pipe_handle"]], _handed[named["tracker_fd"]]


def _close_but(channel: int) -> None:
    """Close what the gateway itself was started with, as a process that is spawned does."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if int(name) not in (0, 1, 2, channel):
                os.close(int(name))


def _find_title() -> None:
    # setproctitle finds the place for a title by where the environment is, which will change.
    with suppress(ImportError):
        import_module("setproctitle").getproctitle()


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
