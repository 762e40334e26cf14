"""The doctor for adapters from any source: fetch one, examine it, keep nothing of it."""

import asyncio

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.revision import Source
from veneer_adapters.doctor.report import Report
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.sandbox.sandbox import Sandbox


class Checkup:
    """Examines the adapter that a source holds, against one base."""

    def __init__(self, intake: Intake, sandbox: Sandbox, facts: BaseFacts) -> None:
        self._intake = intake
        self._sandbox = sandbox
        self._facts = facts

    async def examine(self, source: Source) -> Report:
        """Return what the doctor says of the adapter that ``source`` holds now.

        Raises:
            AdapterRejected: adapters may not come from there, or the files cannot be read within
                the limits.
            AdapterUnavailable: the source or the disk does not work now.
        """
        async with self._intake.borrowed(source) as (folder, _):
            return await asyncio.to_thread(self._sandbox.examine, folder, self._facts)
