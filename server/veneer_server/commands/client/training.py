"""Follows a job to its end, and shows it: a bar, what is said of it, the curve and the table."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from veneer_server.commands.client.curves import Point, chart, points_of, spark
from veneer_server.commands.client.documents import Evaluation
from veneer_server.commands.client.failures import LeftTraining, TrainingFailed, plain
from veneer_server.commands.client.jobs import Event, Job, TrainingApi
from veneer_server.commands.client.tables import table
from veneer_server.training.rows import checking

LOOK_EVERY_S = 1.0
_PARTS = 10
"""Without a terminal, about so many steps are told."""


@dataclass
class Seen:
    """What was seen of a job so far."""

    job: Job
    news: list[Event] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    """The steps and their losses."""


def method_of(path: Path) -> str:
    """Return the method that the first row of a file is for; the server checks all of them."""
    with path.open("rb") as file:
        return str(checking.method_of(file))


def follow(api: TrainingApi, job: Job) -> Iterator[Seen]:
    """Yield what is new of ``job`` again and again; the last one is over."""
    known: str | None = None
    points: list[Point] = []
    while True:
        now = api.job(job.id)  # before its events, so that none of them is missed at the end
        news = api.events_since(job.id, known)
        known = news[-1].id if news else known
        points += points_of(event.data for event in news)
        yield Seen(now, news, points)
        if now.is_over:
            return
        time.sleep(LOOK_EVERY_S)


def watch(api: TrainingApi, job: Job) -> Seen:
    """Show ``job`` on standard error until it has ended, and return it.

    Raises:
        TrainingFailed: it failed, or somebody cancelled it.
        LeftTraining: the user pressed Ctrl-C, also while something was drawn; the server goes on.
    """
    try:
        with _shown() as show:
            for seen in follow(api, job):
                show(seen)
    except KeyboardInterrupt:
        raise LeftTraining(job.id) from None
    now = seen.job
    if now.status != "succeeded":
        raise TrainingFailed(now.id, now.status, now.error.message if now.error else None)
    return seen


def results(found: Evaluation) -> Table:
    """Return one row for each model that was measured."""
    models = found.named()
    graders = [name for name in found.candidate.grades if name in found.base.grades]
    rows = (
        (
            name,
            one.model,
            f"{one.loss:.3f}",
            f"{one.accuracy:.0%}",
            *(f"{one.grades[grader]:.0%}" for grader in graders),
        )
        for name, one in models.items()
    )
    right = "RIGHT PAIRS" if found.method == "dpo" else "RIGHT TOKENS"
    return table(("", "MODEL", "LOSS", right, *(g.upper() for g in graders)), rows)


def curve(points: list[Point]) -> str:
    """Return the chart of the training loss."""
    return "\n".join(["Training loss", *chart(points)])


def answers(variants: Iterable[dict[str, Any]]) -> Table:
    """Return what each model answers, side by side."""
    rows = []
    for one in variants:
        choices = (one.get("completion") or {}).get("choices") or [{}]
        said = (choices[0].get("message") or {}).get("content")
        rows.append((str(one["model"]), said or (one.get("error") or {}).get("message") or "-"))
    return table(("MODEL", "ANSWER"), rows)


@contextmanager
def _shown() -> Iterator[Callable[[Seen], None]]:
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda seen: _tell(err, seen, parts=_PARTS)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Waiting", total=None, loss="")

        def show(seen: Seen) -> None:
            _tell(bar.console, seen, parts=0)
            told, points = seen.job.veneer, seen.points
            loss = f"loss {points[-1][1]:.3f} {spark(points)}" if points else ""
            bar.update(
                task,
                description=_phase(seen.job),
                completed=told.step,
                total=told.total_steps or None,
                loss=loss,
            )

        yield show


def _phase(job: Job) -> str:
    told = job.veneer
    if job.status == "queued":
        return "Paused" if told.paused else "Waiting"
    return "Evaluating" if told.step and told.step == told.total_steps else "Training"


def _tell(console: Console, seen: Seen, *, parts: int) -> None:
    """Print what is new; of the steps about so many as ``parts``."""
    for event in seen.news:
        if _is_told(event.data, parts):
            style = {"warn": "yellow", "error": "red"}.get(event.level, "")
            console.print(Text(plain(event.message), style=style), soft_wrap=True)


def _is_told(data: Mapping[str, Any], parts: int) -> bool:
    step, total = data.get("step"), data.get("total_steps")
    if not isinstance(step, int) or not isinstance(total, int):
        return True  # it is no step
    return parts > 0 and step % max(total // parts, 1) == 0
