"""The work of ``veneer bench``: check the flags, run the bench, show the results."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from veneer_server.api.listener import bind
from veneer_server.bench.goals.goals import GOALS, chosen
from veneer_server.bench.goals.verdicts import Row, rows
from veneer_server.bench.peers.running import BenchFailed, adopt_orphans, wait_for_orphans
from veneer_server.bench.report import tables as report
from veneer_server.bench.report.conditions import Bystanders, conditions
from veneer_server.bench.session import Asked, Results, run

ONLY_FULL = "only without --quick"
NOT_REACHED = "the run ended before"
_WIDTH = 130


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that get the results, besides the terminal; None for no file."""

    json: Path | None
    markdown: Path | None


def goal_ids(text: str | None) -> frozenset[str]:
    """Return the goals that ``text`` names, as in ``G1,G2``; an empty set means all goals.

    Raises:
        BenchFailed: there is no such goal.
    """
    named = {word.strip().upper() for word in (text or "").split(",") if word.strip()}
    known = {goal.id.upper(): goal.id for goal in GOALS}
    unknown = sorted(named - known.keys())
    if unknown:
        raise BenchFailed(f"There is no goal {unknown[0]}; there are {', '.join(known.values())}.")
    return frozenset(known[name] for name in named)


def check_port(port: int) -> None:
    """Return if the peers can listen on ``port``.

    Raises:
        PortTaken: they cannot.
    """
    bind("127.0.0.1", port).close()


def check_model(folder: Path) -> Path:
    """Return ``folder`` as an absolute path.

    Raises:
        BenchFailed: there is no model in it.
    """
    if not (folder / "config.json").is_file():
        raise BenchFailed(f"{folder} is not the folder of a model: it has no config.json.")
    return folder.resolve()


def check_program(file: Path | None) -> Path | None:
    """Return ``file`` as an absolute path; None stays None.

    Raises:
        BenchFailed: it is no program.
    """
    if file and not (file.is_file() and os.access(file, os.X_OK)):
        raise BenchFailed(f"{file} is not a program that can be run.")
    return file.resolve() if file else None


def check_outputs(outputs: Outputs) -> Outputs:
    """Return ``outputs`` if they can be written. The user must know this before the long run.

    Raises:
        BenchFailed: a folder does not exist, or this user may not write to it.
    """
    for file in (outputs.json, outputs.markdown):
        if file and not os.access(file.absolute().parent, os.W_OK):
            raise BenchFailed(
                f"{file} cannot be written: its folder is missing, or you may not write to it."
            )
    return outputs


def bench(asked: Asked, environ: Mapping[str, str], outputs: Outputs) -> None:
    """Measure what is ``asked`` and show the results; after an interruption, those so far.

    Raises:
        BenchFailed: a peer cannot be started.
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    # With an exception at SIGTERM, the blocks end the peers and remove the files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    adopt_orphans()
    made_under = conditions(["veneer", *sys.argv[1:]])
    bystanders = Bystanders()
    results = Results()
    progress = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    began = time.monotonic()

    def tell(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        progress.print(f"{minutes:2}:{seconds:02} {line}")

    default = NOT_REACHED
    try:
        run(asked, environ, results, tell)
        default = ONLY_FULL if asked.quick else NOT_REACHED
    finally:
        wanted = chosen(asked.goals)
        wait_for_orphans()
        made = rows(results.found, wanted, results.absent, default)
        made_under["CPUs that other programs used meanwhile"] = f"{bystanders.cpus():.2f}"
        if any(row.values for row in made):
            _show(made, results, made_under, outputs)


def _show(made: list[Row], results: Results, made_under: dict[str, str], outputs: Outputs) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    console.print(report.table(made))
    for line in [*report.reasons(made), *(f"{key}: {value}" for key, value in made_under.items())]:
        console.print(line, markup=False)
    if outputs.json:
        text = report.to_json(made, results.found, made_under)
        outputs.json.write_text(text, encoding="utf-8")
    if outputs.markdown:
        text = report.markdown(made, results.found, made_under)
        outputs.markdown.write_text(text, encoding="utf-8")
