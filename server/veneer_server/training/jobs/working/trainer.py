"""The trainer's process: started in the folder of a job, asked to save, and ended.

It is a group of processes of its own, so that a signal to the server does not reach it. Its
environment has none of the server's secrets. Its pid stands in the folder, so that a server that
comes after a killed one finds what that one left.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from veneer_server.training.folder import JobFolder, read_json, replace_json

PID, LOG = "trainer.json", "trainer.log"
SAVE_S = 30.0
"""How long a trainer may take to save and end."""
_LOOK_S = 0.1
_SECRET = ("VENEER_", "AWS_", "AZURE_", "GOOGLE_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_")
_SHOWN = 2000


class Trainer:
    """One process of a trainer."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        return await self._process.wait()

    async def save(self, within_s: float = SAVE_S) -> None:
        """Let it save and end; kill it when that takes too long."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once; a second call does nothing."""
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def last_words(self) -> str:
        """Return the end of what it wrote to its standard output and error."""
        return last_words(self._folder)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


async def start(command: Sequence[str], folder: Path) -> Trainer:
    """Return a new process that trains the job in ``folder``.

    Raises:
        OSError: there is no such program, or the folder cannot be written.
    """
    with (folder / LOG).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment(os.environ),
            start_new_session=True,
        )
    trainer = Trainer(process, folder)
    try:
        replace_json(folder / PID, {"pid": process.pid})
    except OSError:  # nobody would find it
        await trainer.kill()
        raise
    return trainer


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a trainer may know of the server's environment."""
    return {name: value for name, value in environ.items() if not name.startswith(_SECRET)}


def last_words(folder: Path) -> str:
    """Return the end of what the trainers of a job wrote to their standard output and error."""
    try:
        return (folder / LOG).read_bytes()[-_SHOWN:].decode(errors="replace")
    except OSError:
        return ""


def end_left_behind(folder: Path, within_s: float = SAVE_S) -> None:
    """End the trainer that an earlier server started in ``folder``, if it still runs. Blocks.

    It saves first. A process that has got its pid since is left alone: it does not name the folder.
    """
    # The server may have died before it wrote the pid; then the trainer itself has said it.
    for says in (folder / PID, JobFolder(folder).heartbeat):
        pid = (read_json(says) or {}).get("pid")
        if isinstance(pid, int) and _works_in(pid, folder):
            _end(pid, folder, within_s)


def _end(pid: int, folder: Path, within_s: float) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        deadline_s = time.monotonic() + within_s
        while _works_in(pid, folder) and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)
        if not _works_in(pid, folder):
            return


def _works_in(pid: int, folder: Path) -> bool:
    # The command line of a process that has ended, and waits to be noticed, is empty.
    try:
        return os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
