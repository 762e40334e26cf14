"""What every running job works with."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from veneer_server.files.files import Files
from veneer_server.training.evaluating.asked import Then
from veneer_server.training.evaluating.grading import Score
from veneer_server.training.jobs.hours import Hours
from veneer_server.training.jobs.jobs import Jobs
from veneer_server.training.jobs.records import FineTuningJob
from veneer_server.training.jobs.working.asking import Models


class Publisher(Protocol):
    """The way from a folder with an adapter to a name that serves it."""

    async def publish(self, job: FineTuningJob, folder: Path, root: Path, alias: str) -> int:
        """Make the adapter in ``folder``, inside ``root``, a revision of the job's adapter.

        It is proved, and ``alias`` points to it. Return its number.

        Raises:
            AdapterUnavailable: not now; try again.
            AdapterError: never; the leaf says why.
        """

    async def make_live(self, job: FineTuningJob, revision: int) -> None:
        """Let the bare name of the job's adapter mean ``revision``; raises as ``publish``."""

    def live(self, name: str) -> int | None:
        """Return the revision that most requests to the adapter ``name`` get, None if none."""

    async def promote(
        self, job: FineTuningJob, folder: Path, root: Path, name: str, then: Then
    ) -> str:
        """Make the adapter in ``folder`` a revision of ``name`` and do ``then``; say what was done.

        A second call does nothing more. Raises as ``publish``.
        """


class Observer(Protocol):
    """Is told how jobs go, for metrics."""

    def learned(self, steps: int, tokens: int, figures: Iterable[Mapping[str, object]]) -> None:
        """So many more steps and tokens were trained; ``figures`` has what was measured."""

    def ended(self, status: str) -> None:
        """A job has succeeded or failed."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What every running job works with."""

    jobs: Jobs
    files: Files
    publisher: Publisher
    base_id: str
    command: Sequence[str]
    """The trainer; it gets the folder of a job as its one argument."""
    observer: Observer
    draining: asyncio.Event
    """Set when the server was told to stop."""
    models: Models
    """What is asked to see what a checkpoint is worth."""
    evaluated_rows: int
    """How many held-out rows are measured with at most; 0 for no evaluation."""
    score: Score
    """The operator's Python graders."""
    hours: Hours
    """When a trainer may run."""
