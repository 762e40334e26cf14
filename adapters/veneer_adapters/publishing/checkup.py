"""The doctor for adapters from any source: fetch one, examine it, keep nothing of it.

An examination may read gigabytes, and whoever asks for one can ask for a hundred. So examinations
have a thread of their own, take turns, and leave the sandbox's other readers to publishing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.opening import open_folder
from veneer_adapters.catalog.revision import Source
from veneer_adapters.doctor.report import Report
from veneer_adapters.errors import CheckupsFull
from veneer_adapters.publishing.intake import Intake, source_errors
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_adapters.threads import Threads

MOST_WAITING = 32
"""How many examinations are fetched, wait or run at a time."""


class Checkup:
    """Examines the adapter that a source holds, against one base."""

    def __init__(self, intake: Intake, sandbox: Sandbox, facts: BaseFacts) -> None:
        self._intake = intake
        self._sandbox = sandbox
        self._facts = facts
        self._threads = Threads("checkup", 1)
        self._asked = 0

    async def examine(self, source: Source) -> Report:
        """Return what the doctor says of the adapter that ``source`` holds now.

        Raises:
            AdapterRejected: adapters may not come from there, or the files cannot be read within
                the limits.
            CheckupsFull: too many examinations wait already.
            AdapterUnavailable: the source or the disk does not work now.
        """
        with self._place():
            return await self._examine(source)

    async def examine_stored(self, folder: Path) -> Report:
        """Return what the doctor says of content of the store; raises as ``examine``."""
        with self._place():
            return await self._threads.run(self._look_into, folder, folder)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._asked >= MOST_WAITING:
            raise CheckupsFull(f"{MOST_WAITING} adapters are being checked already; try again.")
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    async def _examine(self, source: Source) -> Report:
        if source.kind in ("folder", "path"):
            folder, root = self._intake.locate(source)
            return await self._threads.run(self._look_into, folder, root.path)
        async with self._intake.borrowed(source) as (fetched, _):
            return await self._threads.run(self._sandbox.examine, fetched, self._facts)

    def _look_into(self, folder: Path, root: Path) -> Report:
        # Held open, so that nobody can exchange it for a folder that may not be read.
        with source_errors(), open_folder(folder, root) as opened:
            return self._sandbox.examine(opened, self._facts)

    def close(self) -> None:
        """Begin no further examination."""
        self._threads.close()
