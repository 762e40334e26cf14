"""Shows how far the server's work is: a bar on a terminal, elsewhere a line for each stage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from veneer_server.commands.client.documents import Adapter
from veneer_server.commands.client.failures import plain

_STAGES = {"fetch": "Fetching", "prove": "Proving"}


def stage_of(adapter: Adapter) -> str | None:
    """Return a word for what the server does now, None when it has finished."""
    if adapter.progress is None:
        return None
    return _STAGES.get(adapter.progress.stage, plain(adapter.progress.stage))


@contextmanager
def shown(name: str) -> Iterator[Callable[[Adapter], None]]:
    """Yield a function that shows the progress of ``name``, on standard error."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield _lines(err, name)
        return
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        yield _bar(bar, name)


def _lines(err: Console, name: str) -> Callable[[Adapter], None]:
    told: list[str] = []

    def look(adapter: Adapter) -> None:
        stage = stage_of(adapter)
        if stage is not None and stage not in told[-1:]:
            told.append(stage)
            err.print(Text(f"{stage} {plain(name)} ..."), soft_wrap=True)

    return look


def _bar(bar: Progress, name: str) -> Callable[[Adapter], None]:
    task = bar.add_task(f"Asking for {plain(name)}", total=None)

    def look(adapter: Adapter) -> None:
        stage = stage_of(adapter)
        if stage is not None and adapter.progress is not None:
            done, total = adapter.progress.done_bytes, adapter.progress.total_bytes
            bar.update(task, description=f"{stage} {plain(name)}", completed=done or 0, total=total)

    return look
