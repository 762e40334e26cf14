"""A worker that is forked from the engine core, so that it need not import vLLM again.

To import vLLM takes a process seconds, and a worker that is spawned has to. So the engine core
imports it, forks a spare before anything else has begun, and goes on. The spare becomes the worker
when the executor starts one, by what Python does in a process that was spawned. It is a child of
the engine core, as that would be, and gets the same environment and pipes.

Rule: a fork copies one thread. So it comes before OpenMP has threads, for which a copy would wait
for ever, and there is none while Python has threads; then the worker is spawned. (BLAS libraries,
which have theirs by then, end and begin them themselves around a fork.)
"""

import json
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import popen_spawn_posix, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, NoReturn

from veneer_server.engine.vllm.startup.parents import die_with

WANTED = "VENEER_SPARE_WORKER"
"""Environment variable: the name of the process that forks a spare, an engine core."""

_CORE = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")
_WORKER = ("vllm.v1.worker.cpu_worker", "veneer_server.engine.vllm.inside.worker")
_MOST_FDS = 64
_LENGTH = struct.Struct("!Q")

_spawn, _command_line = util.spawnv_passfds, spawn.get_command_line
_waiting: list[tuple[int, socket.socket]] = []
"""In the engine core: its spare, by its process id and where it waits, until it is taken."""
_handed: dict[int, int] = {}
"""In a spare: its descriptors by their numbers in the engine core."""


def keep_spare() -> None:
    """Fork a spare if this is the engine core that shall have one, and nothing speaks against it.

    Call it first of all in a process. In the spare this does not return.
    """
    if multiprocessing.current_process().name != os.environ.get(WANTED):
        return
    inherited = {int(name) for name in os.listdir("/proc/self/fd")}
    for module in _CORE:
        import_module(module)
    if threading.active_count() > 1:
        return
    core, (ours, theirs) = os.getpid(), socket.socketpair()
    spare = os.fork()
    if spare == 0:
        ours.close()
        _become_worker(core, theirs, inherited)
    theirs.close()
    _waiting.append((spare, ours))


@contextmanager
def taking_spare(module: Any) -> Iterator[None]:
    """Let the first process that vLLM's ``module`` starts in the block be the spare, if any."""
    if not _waiting:
        yield
        return
    with _replaced(module, "get_mp_context", _Context):
        yield


class _Handed:
    """A descriptor as it is pickled for the spare."""

    def __init__(self, number: int) -> None:
        self._number = number

    def detach(self) -> int:
        """Return its number in the spare; in a process that is spawned it stays the same."""
        return _handed.get(self._number, self._number)


class _Popen(popen_spawn_posix.Popen):
    DupFd = _Handed  # type: ignore[assignment]  # it needs no more than this one method

    def _launch(self, process_obj: Any) -> None:
        with (
            _replaced(spawn, "get_command_line", lambda **named: named),
            _replaced(util, "spawnv_passfds", _hand_over),
        ):
            super()._launch(process_obj)  # type: ignore[misc]  # as ``popen_fork`` does


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - Python's name
        return (_Popen if _waiting else popen_spawn_posix.Popen)(process_obj)


class _Context(SpawnContext):
    Process = _Process


def _hand_over(path: bytes, named: Mapping[str, int], descriptors: Sequence[int]) -> int:
    """Give the spare what Python would give a process that it spawns; return its process id.

    Spawn that process if the spare has died.
    """
    spare, channel = _waiting.pop()
    what = (named["pipe_handle"], list(descriptors), dict(os.environ))
    told = json.dumps(what).encode()
    try:
        with channel:
            socket.send_fds(channel, [_LENGTH.pack(len(told))], descriptors)
            channel.sendall(told)
    except OSError:
        return _spawn(path, _command_line(**named), descriptors)
    return spare


def _become_worker(core: int, channel: socket.socket, inherited: set[int]) -> NoReturn:
    """Wait until the engine core starts its worker, be that, and end."""
    code = 1
    try:
        die_with(core)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it is a worker, Ctrl-C is not for it
        _close(inherited - {0, 1, 2, resource_tracker.getfd(), channel.fileno()})
        _take_name()
        for module in _WORKER:
            import_module(module)
        pipe = _receive(channel)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = spawn._main(pipe, os.dup(pipe))
    finally:
        os._exit(code)


def _take_name() -> None:
    # Before the environment changes: setproctitle finds the place for a title by where that is.
    vllm = sys.modules.get("vllm.utils.system_utils")
    if vllm is not None:
        vllm.set_process_title("Worker")


def _receive(channel: socket.socket) -> int:
    """Take over the descriptors and the environment; return the pipe with what to do."""
    length, descriptors, *_ = socket.recv_fds(channel, _LENGTH.size, _MOST_FDS)
    if not length:
        os._exit(0)  # the engine core needs no worker
    with channel, channel.makefile("rb") as file:
        pipe, numbers, environ = json.loads(file.read(*_LENGTH.unpack(length)))
    _handed.update(zip(numbers, descriptors, strict=True))
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)
    return _handed[pipe]


def _close(descriptors: set[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


@contextmanager
def _replaced(module: Any, name: str, value: Callable[..., Any]) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
