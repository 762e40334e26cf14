"""From the files that a client names to a folder that a trainer can work in."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from veneer_adapters.threads import in_thread
from veneer_server.files.files import Files
from veneer_server.files.records import Purpose, StoredFile
from veneer_server.tenancy.principals import Principal
from veneer_server.training.jobs.errors import JobRefused
from veneer_server.training.jobs.folders import Folders, disk
from veneer_server.training.jobs.rules import TRAIN, VALID, Asked, Base
from veneer_server.training.rows.bounds import Bounds
from veneer_server.training.rows.checking import Checked, check
from veneer_server.training.rows.examples import Renderer
from veneer_server.training.rows.faults import TrainingFileError
from veneer_server.training.rows.preparing import Amounts, Places, prepare
from veneer_server.training.rows.rows import Method

_FOR_VALIDATION = Bounds(least_rows=1)


@dataclass(frozen=True, slots=True)
class Ready:
    """What lies in the folder of a job, ready to be trained on."""

    trained: Amounts
    held_out: Amounts
    data: Mapping[str, str]
    """The digest of each file, by the field that named it."""

    def told(self) -> str:
        """Return the sentence for people."""
        cut = self.trained.cut + self.held_out.cut
        tail = f"; {cut} rows lose their end, they are longer than the context" if cut else ""
        return (
            f"{self.trained.rows} rows to train on with {self.trained.tokens} tokens,"
            f" {self.held_out.rows} rows to measure with{tail}"
        )


class Preparing:
    """Validates files whole, one job at a time, and writes their rows as tokens."""

    def __init__(self, files: Files, folders: Folders) -> None:
        self._files = files
        self._folders = folders
        self._turn = asyncio.Lock()

    async def find(self, who: Principal, asked: Asked) -> list[tuple[str, StoredFile]]:
        """Return the files that are ``asked`` for, each with the field that names it.

        Raises:
            FileNotFound: there is no such file for ``who``.
            JobRefused: it is not for training.
        """
        named = {"training_file": asked.training_file, "validation_file": asked.validation_file}
        found = []
        for param, file_id in named.items():
            if file_id is None:
                continue
            file = await self._files.find(who.owner, file_id, param=param)
            if file.purpose != Purpose.FINE_TUNE:
                wrong = f"The purpose of the file must be 'fine-tune', not '{file.purpose}'."
                raise JobRefused(wrong, param=param)
            found.append((param, file))
        return found

    async def prepare(
        self,
        job_id: str,
        files: list[tuple[str, StoredFile]],
        method: Method,
        renderer: Renderer,
        base: Base,
    ) -> Ready:
        """Write the rows of ``files``, which are of ``method``, as tokens into the job's folder.

        Raises:
            TrainingFileError: rows are wrong; ``param`` names the file.
            JobsUnavailable: the disk cannot be written.
        """
        async with self._turn:
            with disk():
                return await self._prepare(job_id, files, method, renderer, base)

    async def _prepare(
        self,
        job_id: str,
        files: list[tuple[str, StoredFile]],
        method: Method,
        renderer: Renderer,
        base: Base,
    ) -> Ready:
        folder = self._folders.of(job_id)
        holds_out = len(files) == 1
        amounts = []
        for (param, file), to in zip(files, (TRAIN, VALID), strict=False):
            with await self._files.open(file) as content:
                path = await in_thread(self._folders.take, job_id, param, content)
            places = Places(folder / to, folder / VALID if holds_out else None)
            bounds = Bounds() if param == "training_file" else _FOR_VALIDATION
            try:
                checked = await in_thread(check, path, method, bounds)
                amounts.append(await _write(checked, places, bounds, renderer, base))
            except TrainingFileError as error:
                error.param = param
                raise
            await in_thread(path.unlink)
        trained, held_out = amounts[0]
        data = {param: f"sha256:{file.digest}" for param, file in files}
        return Ready(trained, held_out if holds_out else amounts[1][0], data)


async def _write(
    checked: Checked, places: Places, bounds: Bounds, renderer: Renderer, base: Base
) -> tuple[Amounts, Amounts]:
    found = await prepare(checked, renderer, places, most_tokens=base.most_tokens, bounds=bounds)
    return found.trained, found.held_out
