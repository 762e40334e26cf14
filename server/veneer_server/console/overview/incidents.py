"""What went wrong lately, and what is still wrong: one line each. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from veneer_adapters.catalog.revision import Adapter
from veneer_adapters.lifecycle import State
from veneer_server.auditing.entries import Entry
from veneer_server.auditing.unasked import GUARD
from veneer_server.training.jobs.records import FineTuningJob

MOST = 10


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that went wrong."""

    at_s: float | None
    """When, in seconds since the epoch; None when it is so now."""
    about: str
    told: str
    page: str = ""
    """Where more of it is, inside the console; empty when there is nothing more."""


def incidents(
    adapters: Iterable[Adapter],
    entries: Iterable[Entry],
    jobs: Iterable[FineTuningJob],
    restarts: Iterable[tuple[float, float]],
) -> Sequence[Incident]:
    """Return at most ``MOST``: what is so now, then what was, the newest first.

    ``restarts`` are those of the engine: until when, and how many.
    """
    found = [*_failed(adapters), *_audited(entries), *map(_of_job, jobs), *map(_restart, restarts)]
    found.sort(key=lambda one: (one.at_s is not None, -(one.at_s or 0.0), one.about))
    return found[:MOST]


def _failed(adapters: Iterable[Adapter]) -> Iterator[Incident]:
    for one in adapters:
        if one.state is State.FAILED:
            told = f"It cannot serve: {one.reason}."
            yield Incident(None, one.name, told, _page_of(one.name))


def _audited(entries: Iterable[Entry]) -> Iterator[Incident]:
    for entry in entries:
        change = entry.change
        name = change.object.partition("@")[0]
        if change.actor == GUARD:
            told = "A guard took a canary back."
        else:
            told = f"What was published was refused: {change.outcome}."
        yield Incident(float(change.time), change.object, told, _page_of(name))


def _of_job(job: FineTuningJob) -> Incident:
    told = job.failure.message if job.failure else "The job failed."
    return Incident(float(job.finished or job.created), job.id, told)


def _restart(found: tuple[float, float]) -> Incident:
    until_s, number = found
    often = "once" if number == 1 else f"{number:.0f} times"
    return Incident(until_s, "engine", f"It was lost and started again, {often} in one minute.")


def _page_of(name: str) -> str:
    return f"variants/{quote(name)}"
