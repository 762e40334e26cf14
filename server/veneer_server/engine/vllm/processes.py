"""The processes of one vLLM engine: how they are started, killed at once, and cleaned up after.

vLLM names its sockets, its shared memory and a few files at random and leaves them behind when a
process is killed: 160 MiB each time. So every engine gets a folder of its own for what goes into
a folder, and its shared memory is noted by name while the processes live. ``leftovers`` writes both
down, for the case that the gateway is killed too.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from veneer_server.engine.stages import Stage
from veneer_server.engine.vllm import leftovers
from veneer_server.engine.vllm.bases.causes import Cause, note_started, read_cause
from veneer_server.engine.vllm.startup.half_made import close_sockets
from veneer_server.engine.vllm.startup.places import make_folder
from veneer_server.engine.vllm.startup.reports import FOLDER, following

logger = logging.getLogger(__name__)

_SHARED = "/dev/shm/"  # noqa: S108 - where Linux shows shared memory, not a place for files
_JOIN_S = 5.0
_LOOK_S = 0.05
_STOP_S = 0.8
"""How long an engine on a GPU may take to end by itself; one that hangs is killed then."""


class StartFailed(Exception):
    """An engine did not start; ``cause`` is the first error of any of its processes."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(f"{cause.kind}: {cause.message}")
        self.cause = cause


class EngineProcesses:
    """The engine core of one client, and its workers, which are in its process group."""

    def __init__(
        self, client: AsyncLLM, thread: ThreadPoolExecutor, folder: Path, record: Path | None
    ) -> None:
        self.client = client
        self._loop = asyncio.get_running_loop()
        self._thread = thread
        self._folder = folder
        self._record = record
        self._cores = client.engine_core.resources.engine_manager.processes
        self._shared: set[str] = set()

    @classmethod
    async def start(
        cls,
        start_client: Callable[[], AsyncLLM],
        record: Path | None = None,
        on_stage: Callable[[Stage, float], None] = lambda _stage, _at_s: None,
    ) -> "EngineProcesses":
        """Return the processes that ``start_client`` starts, in a thread, so that others go on.

        What they leave behind if this process is killed is written into ``record``; what a dead
        process wrote there is removed first. ``on_stage`` gets the stages that they report.

        The kernel ends an engine together with the *thread* that started it (see ``plugin``), so
        that thread stays until ``kill`` or ``stop``.

        Raises:
            StartFailed: ``start_client`` raised, which may have its cause in another process.
        """
        others = set(multiprocessing.active_children())
        thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        if record is not None and leftovers.clear(record):
            logger.info("what an engine of a killed server left was removed")
        folder = make_folder(leftovers.FOLDER_PREFIX)
        os.environ[FOLDER] = str(folder)
        starting = thread.submit(start_client)
        try:
            _note(record, folder)
            async with following(folder, on_stage):
                client = await asyncio.wrap_future(starting)
        except BaseException as error:
            close_sockets(error)
            # Who gives the start up, or stops the server now, waits for nothing more of it.
            starting.add_done_callback(_undo)
            shared = await asyncio.to_thread(_end_start, starting, others)
            thread.shutdown(wait=False)
            cause = read_cause(folder)
            _remove(folder, shared, record)
            if isinstance(error, Exception) and not isinstance(error, StartFailed):
                raise StartFailed(cause or Cause.of(error)) from error
            raise
        return cls(client, thread, folder, record)

    def cause(self) -> Cause | None:
        """Return the first error of a process since the start began, None without one."""
        return read_cause(self._folder)

    def note_started(self) -> None:
        """Remember the shared memory that the processes have now; errors go to the log from now."""
        note_started(self._folder)
        self._shared |= _shared_memory_of(self._cores)
        _note(self._record, self._folder, self._shared)

    def kill(self) -> None:
        """End every process at once and remove what they leave; blocks. Twice is safe."""
        self._shared |= _end(self._cores)
        # Shut down, vLLM would leave its streams open: whoever reads one waits for ever.
        tell = self.client.output_processor.propagate_error
        self._loop.call_soon_threadsafe(tell, EngineDeadError())
        self.client.shutdown(timeout=0)
        self._clear()

    def stop(self) -> None:
        """End every process and remove what they leave, when nobody waits for them; twice is safe.

        On a CPU they get no time to end by themselves: vLLM's core would wait a second for its
        worker, which ends only after a signal, and they would leave as much.
        """
        self._shared |= _shared_memory_of(self._cores)
        self.client.shutdown(timeout=0 if current_platform.is_cpu() else _STOP_S)
        self._clear()

    def _clear(self) -> None:
        # vLLM's finalizer would shut down again, in an interpreter that is ending already.
        self.client.shutdown = _do_nothing
        self._thread.shutdown(wait=False)
        _remove(self._folder, self._shared, self._record)


def _end(cores: Collection[BaseProcess]) -> set[str]:
    """Kill engine cores with their workers; return the names of the shared memory they had."""
    shared = _shared_memory_of(cores)
    for pid in (core.pid for core in cores if core.pid):
        # One that has just begun is in our group, not in its own, and has no workers.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    for core in cores:
        core.kill()
    for core in cores:
        core.join(_JOIN_S)
    return shared


def _end_start(starting: Future[AsyncLLM], others: Collection[BaseProcess]) -> set[str]:
    """Kill every child but the ``others`` until ``starting`` has ended, at most ``_JOIN_S``.

    A start that is given up early has yet to begin its engine core. Return as ``_end`` does.
    """
    ends_s = time.monotonic() + _JOIN_S
    shared = set[str]()
    while True:
        shared |= _end(set(multiprocessing.active_children()) - set(others))
        if starting.done() or time.monotonic() > ends_s:
            return shared
        wait([starting], timeout=_LOOK_S)


def _undo(starting: Future[AsyncLLM]) -> None:
    """End the engine of a start that nobody waits for any more."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().shutdown(timeout=0)


def _note(record: Path | None, folder: Path, shared: Collection[str] = ()) -> None:
    if record is None:
        return
    try:
        leftovers.note(record, folder, shared)
    except OSError as error:
        # The engine serves without the record; only a killed server then leaves something behind.
        logger.warning("the engine's files could not be written down: %s", error.strerror)


def _remove(folder: Path, shared: Iterable[str], record: Path | None) -> None:
    if os.environ.get(FOLDER) == str(folder):
        del os.environ[FOLDER]  # whatever starts next would fail to put its sockets there
    leftovers.remove(folder, list(shared))
    if record is not None:
        record.unlink(missing_ok=True)


def _members(groups: Iterable[int | None]) -> list[int]:
    """Return every process of the process ``groups``."""
    wanted = set(groups)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # pid (name) state parent group ...; the name may hold spaces and parentheses.
            group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
            if group in wanted:
                found.append(int(folder.name))
    return found


def _shared_memory_of(cores: Iterable[BaseProcess]) -> set[str]:
    """Return the names of Python's shared memory that engine cores and their workers have."""
    members = _members(core.pid for core in cores)
    return set[str]().union(*map(_mapped_by, members))


def _mapped_by(pid: int) -> set[str]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    paths = (line.partition(_SHARED)[2] for line in lines)
    return {name for name in paths if name.startswith(leftovers.SHARED_PREFIX)}


def _do_nothing(timeout: float | None = None) -> None:
    """Stand in for ``shutdown`` after the shutdown."""
