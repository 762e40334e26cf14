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
import tempfile
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from veneer_server.engine.vllm import leftovers

logger = logging.getLogger(__name__)

_FOLDER = "VLLM_RPC_BASE_PATH"
"""Environment variable: where vLLM puts its sockets; our plugin puts its other files there."""
_SHARED = "/dev/shm/"  # noqa: S108 - where Linux shows shared memory, not a place for files
_JOIN_S = 5.0
_STOP_S = 10
"""vLLM's worker needs five seconds to end by itself. If it were killed, its shared memory stays."""


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
        cls, start_client: Callable[[], AsyncLLM], record: Path | None = None
    ) -> "EngineProcesses":
        """Return the processes that ``start_client`` starts, in a thread, so that others go on.

        What they leave behind if this process is killed is written into ``record``; what a dead
        process wrote there is removed first.

        The kernel ends an engine together with the *thread* that started it (see ``plugin``), so
        that thread stays until ``kill`` or ``stop``.
        """
        others = set(multiprocessing.active_children())
        thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        if record is not None and leftovers.clear(record):
            logger.info("what an engine of a killed server left was removed")
        folder = Path(tempfile.mkdtemp(prefix=leftovers.FOLDER_PREFIX))
        os.environ[_FOLDER] = str(folder)
        try:
            _note(record, folder)
            client = await asyncio.get_running_loop().run_in_executor(thread, start_client)
        except BaseException:
            # Who stops the server now does not wait until the engine has started.
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            thread.shutdown(wait=False)
            _remove(folder, (), record)
            raise
        return cls(client, thread, folder, record)

    def note_shared_memory(self) -> None:
        """Remember the shared memory that the processes have now."""
        groups = {core.pid for core in self._cores}
        for pid in _members(groups):
            self._shared |= _shared_memory_of(pid)
        _note(self._record, self._folder, self._shared)

    def kill(self) -> None:
        """End every process at once and remove what they leave; blocks. Twice is safe."""
        for core in self._cores:
            with suppress(ProcessLookupError):
                os.killpg(core.pid, signal.SIGKILL)
        for core in self._cores:
            core.join(_JOIN_S)
        # Shut down, vLLM would leave its streams open: whoever reads one waits for ever.
        tell = self.client.output_processor.propagate_error
        self._loop.call_soon_threadsafe(tell, EngineDeadError())
        self.client.shutdown(timeout=0)
        self._clear()

    def stop(self) -> None:
        """Let the processes end by themselves, and remove what they leave; twice is safe."""
        self.client.shutdown(timeout=_STOP_S)
        self._clear()

    def _clear(self) -> None:
        # vLLM's finalizer would shut down again, in an interpreter that is ending already.
        self.client.shutdown = _do_nothing
        self._thread.shutdown(wait=False)
        _remove(self._folder, self._shared, self._record)


def _note(record: Path | None, folder: Path, shared: Collection[str] = ()) -> None:
    if record is None:
        return
    try:
        leftovers.note(record, folder, shared)
    except OSError as error:
        # The engine serves without the record; only a killed server then leaves something behind.
        logger.warning("the engine's files could not be written down: %s", error.strerror)


def _remove(folder: Path, shared: Iterable[str], record: Path | None) -> None:
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


def _shared_memory_of(pid: int) -> set[str]:
    """Return the names of Python's shared memory that the process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    paths = (line.partition(_SHARED)[2] for line in lines)
    return {name for name in paths if name.startswith(leftovers.SHARED_PREFIX)}


def _do_nothing(timeout: float | None = None) -> None:
    """Stand in for ``shutdown`` after the shutdown."""
