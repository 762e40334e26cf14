"""``veneer adapters check``: the doctor on the command line, without an engine or a server.

It uses the network only to fetch an adapter that is named by a URL.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.opening import Place, open_folder, resolved
from veneer_adapters.doctor.base_model import open_base
from veneer_adapters.doctor.report import Repaired, Report
from veneer_adapters.errors import AdapterError
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_server.engine.sizing.asking import asked_in
from veneer_server.engine.sizing.here import dtypes_here
from veneer_server.engine.sizing.shapes import WIDTHS
from veneer_server.engine.sizing.sizes import USUAL_RANK
from veneer_server.engine.starting import model_on_disk
from veneer_server.settings import Settings, SettingsError

EXIT_LOADS, EXIT_DOES_NOT, EXIT_NOT_CHECKED = 0, 1, 2

Provider = Callable[[str], AbstractContextManager[Place]]
"""Gives the folder of an adapter that a person named, until the block ends."""


class NotChecked(Exception):
    """The adapter could not be examined; it may be good or bad."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the adapter is compared with, and where a repaired copy goes."""

    base: Path
    facts: BaseFacts
    fix: Path | None


@contextmanager
def local_folder(location: str) -> Iterator[Place]:
    """Yield the folder at the path ``location``, open; raise NotChecked if there is none."""
    if not Path(location).is_dir():
        raise NotChecked("There is no such folder; name a folder or a URL.")
    folder = resolved(Path(location))
    with open_folder(folder, folder) as opened:
        yield opened


def provider(location: str, settings: Settings) -> Provider:
    """Return the provider for ``location``: of a local folder, or of a URL that it fetches.

    A user who types a URL wants it, so its place need not be in the settings. Its addresses must
    be public, unless sources.private_hosts allows them.
    """
    return fetched_by(settings) if "://" in location else local_folder


def fetched_by(settings: Settings) -> Provider:
    """Return the provider for URLs; the fetched files are removed when the block ends."""

    @contextmanager
    def fetched(location: str) -> Iterator[Place]:
        from veneer_adapters.sources.locations import parse_location
        from veneer_adapters.sources.remote import remote_sources

        place, sources = parse_location(location), settings.sources
        fetching = remote_sources(
            hub_orgs=[place.place] if place.scheme == "hf" else (),
            https_hosts=[place.place] if place.scheme == "https" else (),
            private_hosts=sources.private_hosts,
            buckets=[location] if place.scheme in ("s3", "gs", "az") else (),
            timeout_s=sources.timeout_s,
            max_bytes=sources.max_bytes,
            ca_file=sources.ca_file,
        )
        with tempfile.TemporaryDirectory(prefix="veneer-check-") as into, fetch_bar() as report:
            yield asyncio.run(fetching.fetch(location, Path(into), report)).folder

    return fetched


@contextmanager
def fetch_bar() -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on standard error, if that is a terminal.

    Yield a function that takes the bytes that are done and the total, None if it is not known.
    """
    columns = (TextColumn("Fetching"), BarColumn(), DownloadColumn())
    err = Console(stderr=True)
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("fetch", total=None)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield report


def check(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH|URL",
            help="Folder of the adapter, or hf://ORG/NAME, https://HOST/FOLDER/, s3://, gs://, az://.",
        ),
    ],
    model: Annotated[
        Path | None, typer.Option(help="Folder of the base model. Default: the configured one.")
    ] = None,
    max_rank: Annotated[
        int | None,
        typer.Option(min=1, help="Largest rank that is allowed. Default: adapters.max_rank."),
    ] = None,
    fix: Annotated[Path | None, typer.Option(help="New folder that gets a repaired copy.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of settings.", dir_okay=False)
    ] = None,
) -> None:
    """Check whether an adapter would load, before you give it to a server.

    The report says what is wrong, what would have no effect, how much memory the adapter takes
    and what to change. The command needs no server.

    Example: veneer adapters check hf://acme/pirate --fix pirate-fixed

    The exit code is 0 if the adapter (or its repaired copy) loads, 1 if it does not load, and 2
    if the command could not examine it.
    """
    try:
        settings = Settings.load(file=config)
        asked = prepare(settings, model, max_rank, fix)
        report, repaired = examine(path, asked, provider(path, settings))
    except (NotChecked, SettingsError, AdapterError) as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(EXIT_NOT_CHECKED) from error
    if as_json:
        typer.echo(to_json(report, repaired))
    else:
        Console().print(*to_text(report, repaired, fix), sep="\n")
    loads = report.loads or isinstance(repaired, Repaired)
    raise typer.Exit(EXIT_LOADS if loads else EXIT_DOES_NOT)


def prepare(
    settings: Settings, model: Path | None, max_rank: int | None, fix: Path | None
) -> Asked:
    """Return what to check against: ``model``, or the base model of the settings.

    Raises:
        NotChecked: that model is not on this machine.
        BaseUnreadable: its files do not say what an adapter must match.
    """
    folder, name = (model, model.resolve().name) if model else model_on_disk(settings)
    if folder is None:
        raise NotChecked(
            "The base model is not on this machine yet. Run 'make setup', or start 'veneer serve'"
            " once, or name the folder of a model with --model."
        )
    asked = asked_in(settings)
    rank, dtypes = max_rank or asked.max_rank or USUAL_RANK, dtypes_here(folder, asked)
    for dtype in dtypes:
        if dtype not in WIDTHS:
            raise NotChecked(f"{dtype!r} is no dtype in which an engine computes.")
    facts = open_base(folder).facts(name=name, max_rank=rank, dtype=dtypes[0])
    facts = replace(facts, lora_dtype=dtypes[1], compress=settings.adapters.compress)
    return Asked(folder, facts, fix)


def examine(
    location: str, asked: Asked, provide: Provider = local_folder
) -> tuple[Report, Repaired | AdapterError | None]:
    """Return the doctor's report, and the result or the error of the repair.

    The second value is None when no repair was asked for.
    """
    with provide(location) as folder, Sandbox() as sandbox:
        report = sandbox.examine(folder, asked.facts)
        if asked.fix is None:
            return report, None
        try:
            return report, sandbox.repair(folder, asked.fix, asked.facts, asked.base)
        except AdapterError as error:
            return report, error


def to_json(report: Report, repaired: Repaired | AdapterError | None) -> str:
    """Return the report as JSON, for programs."""
    document = orjson.loads(report.to_json())
    if isinstance(repaired, Repaired):
        document["repaired"] = asdict(repaired)
    elif repaired is not None:
        document["repaired"] = {"reason": repaired.reason, "message": str(repaired)}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def to_text(
    report: Report, repaired: Repaired | AdapterError | None, fix: Path | None = None
) -> list[Table | Text]:
    """Return the report for people. Texts from the adapter's files never act as markup."""
    verdict = Text("Loads.", "bold green") if report.loads else Text("Does not load.", "bold red")
    shown: list[Table | Text] = [verdict, _table(report)]
    problems = [
        f"{p.reason}: {p.message}" + (f" And {p.more} more like this." if p.more else "")
        for p in report.problems
    ]
    for title, style, lines in (
        ("Problems", "red", problems),
        ("Warnings", "yellow", report.warnings),
        ("Without effect", "yellow", report.ignored),
        ("What to do", "cyan", report.advice),
        ("What --fix would try", "cyan", report.fixable if repaired is None else ()),
    ):
        shown += _section(title, style, lines)
    if isinstance(repaired, Repaired):
        shown += _section(f"Repaired copy in {fix}, which loads", "green", repaired.changes)
    elif repaired is not None:
        shown += _section("Not repaired", "red", [str(repaired)])
    return shown


def _section(title: str, style: str, lines: tuple[str, ...] | list[str]) -> list[Table | Text]:
    if not lines:
        return []
    return [Text(title, f"bold {style}"), *(Text(f"  - {line}") for line in lines)]


def _table(report: Report) -> Table:
    facts, base, cost = report.facts, report.base, report.cost
    table = Table(show_header=False, box=None, pad_edge=False)
    rank = f"{_or_unknown(facts.rank)} (the server accepts up to {base.max_rank})"
    if report.compression is not None:
        lost, lower = report.compression.error, report.compression.rank
        rank = f"{_or_unknown(facts.rank)}, compressed to {lower} with an error of {lost:.2g}"
    of_base = f", {facts.matched} of the base's {facts.base_modules}" if facts.base_modules else ""
    for name, value in (
        ("Rank", rank),
        ("Alpha", f"{_or_unknown(facts.alpha)}, scaling {_or_unknown(facts.scaling)}"),
        ("Modules", f"{facts.modules}{of_base}: {', '.join(facts.target_modules) or 'none'}"),
        ("Weights", f"{facts.dtype or 'unknown'}, {_size(facts.size_bytes)} on disk"),
        ("Trained on", facts.base_name or "not said"),
        ("Checked against", f"{base.name}, {base.dtype}"),
        ("Takes", f"{_size(cost.host_copy_bytes)} of host memory; a device slot is"
                  f" {_size(cost.device_slot_bytes)}"),
    ):  # fmt: skip
        table.add_row(Text(name, "bold"), Text(value))
    return table


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "of unknown size"
    return f"{size_bytes / 2**20:.1f} MiB" if size_bytes >= 1 << 20 else f"{size_bytes} bytes"
