"""What a process does that was begun early, until it is the one that vLLM starts.

``spare`` begins it.
"""

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing import resource_tracker, spawn
from typing import NoReturn

from veneer_server.engine.vllm.startup.parents import die_with
from veneer_server.engine.vllm.startup.spare import IMPORTS, LENGTH, begin_worker, handed

_MOST_FDS = 64


def become(name: str, parent: int, channel: int, imports: Mapping[str, Sequence[str]]) -> NoReturn:
    """Import what ``name`` needs, wait until ``parent`` starts such a process, be that, and end.

    ``imports`` are the modules of every spare.

    Nothing is collected until the process has begun.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it is taken, Ctrl-C is not for it
    die_with(parent)
    IMPORTS.update(imports)
    begin_worker(name)
    _find_title()
    for module in IMPORTS[name]:
        import_module(module)
    pipe, tracker = _receive(socket.socket(fileno=channel))
    resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined]
    os.setpgid(0, os.getpgid(parent))  # a worker's parent has a group of its own by now
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(spawn._main(pipe, os.dup(pipe)))


def _receive(channel: socket.socket) -> tuple[int, int]:
    """Take over the descriptors and the environment; return Python's pipe and its tracker."""
    length, descriptors, *_ = socket.recv_fds(channel, LENGTH.size, _MOST_FDS)
    if not length:
        sys.exit()  # nobody needs this process
    with channel, channel.makefile("rb") as file:
        named, numbers, environ = json.loads(file.read(*LENGTH.unpack(length)))
    handed.update(zip(numbers, descriptors, strict=True))
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)
    return handed[named["pipe_handle"]], handed[named["tracker_fd"]]


def _find_title() -> None:
    # setproctitle finds the place for a title by where the environment is, which will change.
    with suppress(ImportError):
        import_module("setproctitle").getproctitle()
