"""What the documents say is what the code does: each table here is held against its source."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from support.places import REPOSITORY, TESTS
from support.tables import rows
from veneer_adapters.errors import AdapterError, AdapterRejected, AdapterUnavailable
from veneer_adapters.events import (
    CanaryWatched,
    ColdStart,
    EvictionReason,
    Level,
    LoadStage,
    Origin,
    Outcome,
    Reason,
    StageFinished,
)
from veneer_server.api import parsing
from veneer_server.api.errors import _TABLE, _UNEXPECTED, to_api_error
from veneer_server.api.official import bounds
from veneer_server.app import create_app, running
from veneer_server.batches.records import UNFINISHED
from veneer_server.bench.goals.goals import GOALS
from veneer_server.commands import adapters as adapters_cli
from veneer_server.commands.main import bench, serve
from veneer_server.engine.base import Endpoint
from veneer_server.engine.echo import EchoEngine
from veneer_server.engine.supervision import Loss
from veneer_server.reloading import LIVE
from veneer_server.settings import Settings
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.requests import Waiting

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "server/*.md", "adapters/*.md", "tests/*.md")
    for page in REPOSITORY.glob(pattern)
)


def read(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def settings() -> Iterator[tuple[str, Any, str]]:
    """Yield name, default and description of every setting there is."""
    defaults = json.loads(Settings().model_dump_json())
    for section, holder in Settings.model_fields.items():
        assert isinstance(holder.annotation, type)
        assert issubclass(holder.annotation, BaseModel)
        for name, field in holder.annotation.model_fields.items():
            assert field.description, f"{section}.{name} has no description"
            yield f"{section}.{name}", defaults[section][name], field.description


@pytest.mark.parametrize(("name", "default", "meaning"), list(settings()))
def test_every_setting_is_documented_with_its_default(
    name: str, default: Any, meaning: str
) -> None:
    documented = {cells[0]: cells[1:] for cells in rows("docs/configuration.md", "setting")}
    assert f"`{name}`" in documented
    shown_default, shown_meaning = documented[f"`{name}`"]
    assert shown_default == f"`{json.dumps(default)}`"
    assert shown_meaning.startswith(meaning)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = [cells[0].strip("`") for cells in rows("docs/configuration.md", "setting")]
    assert documented == [name for name, _, _ in settings()]


def test_every_setting_stands_in_the_example_file() -> None:
    example = read("deploy/veneer.example.yaml")
    for name, _, _ in settings():
        section, field = name.split(".")
        assert re.search(rf"^{section}:\n(  .*\n)*  {field}: ", example, re.MULTILINE), name


def test_every_setting_that_sighup_reads_again_is_documented() -> None:
    assert [cells[0].strip("`") for cells in rows("docs/operations.md", "read again")] == [*LIVE]


def test_every_bound_of_a_field_is_documented() -> None:
    table = {
        f"`{path}`": (bound.items, bound.length, bound.key_length)
        for path, bound in bounds.BOUNDS.items()
    }
    shown = [
        [path, *("" if most is None else str(most) for most in sizes)]
        for path, sizes in table.items()
    ]
    assert rows("docs/operations.md", "field of a body") == shown
    together = [int(cells[1]) for cells in rows("docs/operations.md", "what is bounded together")]
    assert together == [
        bounds.MOST_SEQUENCES,
        bounds.MOST_TOKEN_IDS,
        bounds.MOST_ITEMS,
        bounds.MOST_PARTS,
        bounds.MOST_ARGUMENTS,
        bounds.MOST_TOKENIZED,
        parsing.MOST_MEMBERS,
        parsing.MOST_VALUES,
        parsing.MOST_TEXTS,
    ]
    assert f"| {parsing.DEEPEST} | 400 `invalid_json` |" in read("docs/operations.md")


async def test_every_route_is_documented(tmp_path: Path) -> None:
    flags = {"adapters": {"dir": tmp_path / "a"}, "state": {"dir": tmp_path / "s"}}
    loaded = Settings.load(environ={}, flags=flags)
    async with running(loaded, engine=EchoEngine()) as parts:
        routes = [r for r in create_app(parts.server).routes if isinstance(r, APIRoute)]
    methods = [(r.path, m) for r in routes for m in r.methods if m != "HEAD"]  # as GET
    served = {f"{method} {re.sub('{.*?}', '{id}', path)}" for path, method in methods}
    assert {cells[0].strip("`") for cells in rows("docs/api.md", "route")} == served


def test_every_error_code_is_documented() -> None:
    known = {(row.status, row.code, row.type) for row in (*_TABLE.values(), _UNEXPECTED)}
    for status in (404, 405):
        row = to_api_error(HTTPException(status))
        known.add((row.status, row.code, row.type))
    documented = set()
    for status, code, kind, _meaning in rows("docs/api.md", "status"):
        name = code.strip("`")
        documented.add((int(status), None if name == "null" else name, kind.strip("`")))
    assert documented == known


def test_every_reason_for_refusing_an_adapter_is_documented() -> None:
    reasons = {leaf.reason for leaf in AdapterRejected.__subclasses__()}
    assert {cells[0].strip("`") for cells in rows("docs/api.md", "reason")} == reasons


def leaves(branch: type[AdapterError]) -> Iterator[type[AdapterError]]:
    for child in branch.__subclasses__():
        yield child
        yield from leaves(child)


def test_every_reason_comes_with_what_to_do_about_it() -> None:
    advice = {cells[0].strip("`"): cells[1] for cells in rows("docs/adapters.md", "reason code")}
    for leaf in (*leaves(AdapterRejected), *leaves(AdapterUnavailable)):
        assert len(advice.get(leaf.reason, "")) > 10, leaf.reason


def test_every_command_over_adapters_is_documented_with_its_options() -> None:
    documented = {
        name: set(re.findall(r"`(--[a-z-]+)`", options))
        for names, options in rows("docs/adapters.md", "command")
        for name in re.findall(r"`([a-z]+) ?[A-Z@ ]*`", names)
    }
    everywhere = {"--help", "--url", "--key", "--config"}
    group: Any = typer.main.get_command(adapters_cli.group)
    for name, command in group.commands.items():
        options = {word for param in command.params for word in param.opts if word[:2] == "--"}
        assert documented[name] == options - everywhere, name


def used_metrics() -> Metrics:
    """Metrics that counted one of everything, so that every label shows."""
    metrics = Metrics(CollectorRegistry())
    metrics.built(base_model="echo", lora_op="none")
    metrics.observe_slots(lambda: {("device", "used"): 1})
    metrics.observe_waiting(lambda: 0)
    metrics.observe_batches(lambda: {("in_progress",): 1})
    metrics.observe_jobs(lambda: {("running",): 1})
    metrics.training.learned(1, 10, [{"train_loss": 1.0}])
    metrics.observe_residents(lambda: [("pirate", "device")])
    metrics.observe_adapters("echo", lambda: {"pirate": "ready"})
    with metrics.request("chat", "pirate") as seen:
        seen.token()
        seen.used(1, 1)
    metrics.served("acme", seen)
    metrics.refused("model_not_found", "acme")
    for stage in LoadStage:
        metrics.on_event(StageFinished("pirate", stage, 0.1))
    metrics.on_event(ColdStart("pirate", 0.1))
    metrics.on_event(CanaryWatched("pirate"))
    return metrics


def exported_metrics() -> dict[str, tuple[str, str, set[str]]]:
    """Return type, unit and labels of every metric by its full name."""
    exported = {}
    for family in used_metrics().snapshot().collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        unit = "s" if family.name.endswith("_seconds") else ""
        exported[family.name + suffix] = (family.type, unit, labels)
    return exported


def test_every_metric_is_documented_with_type_unit_labels_and_what_to_do() -> None:
    documented = {}
    for name, kind, unit, labels, meaning, advice in rows("docs/metrics.md", "metric"):
        documented[name.strip("`")] = (kind, unit, set(re.findall(r"`(\w+)`", labels)))
        assert meaning.endswith("."), name
        assert len(advice) > 10, name
    assert documented == exported_metrics()


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("stage", set(LoadStage)),
        ("outcome", {*get_args(Outcome), "completed", "rejected", "cancelled"}),
        ("source", set(get_args(Origin))),
        ("level", set(get_args(Level))),
        ("direction", {"input", "output"}),
        ("reason", {*get_args(EvictionReason), *Waiting, *Loss, *get_args(Reason)}),
        ("endpoint", set(Endpoint)),
        ("status", set(UNFINISHED)),
        ("state", {"ready", "staged", "failed", "used", "free"}),
    ],
)
def test_every_value_of_a_label_is_documented(label: str, values: set[str]) -> None:
    [documented] = [cells[1] for cells in rows("docs/metrics.md", "label") if label in cells[0]]
    assert set(re.findall(r"`(\w+)`", documented)) == {str(value) for value in values}


def test_every_flag_of_serve_is_documented() -> None:
    flags = re.findall(r"`(--[a-z-]+)`", read("docs/configuration.md"))
    options = {n: a.__metadata__[0] for n, a in serve.__annotations__.items() if n != "return"}
    shown = {name.replace("_", "-") for name, option in options.items() if not option.hidden}
    assert set(flags) == {f"--{name}" for name in shown}


def test_every_flag_and_every_goal_of_the_bench_is_documented() -> None:
    flags = {cells[0].strip("`") for cells in rows("docs/benchmarks.md", "flag")}
    named = bench.__annotations__.keys() - {"return"}
    assert flags == {f"--{name.replace('_', '-')}" for name in named}
    goals = {cells[0]: cells[2] for cells in rows("docs/benchmarks.md", "goal")}
    assert list(goals) == list(dict.fromkeys(goal.id for goal in GOALS))
    for goal in GOALS:
        for number in (goal.threshold, goal.stretch):
            assert number is None or re.search(rf"\b{number:g}", goals[goal.id]), goal


def named_targets() -> list[tuple[str, str]]:
    pattern = re.compile(r"(?:`|^|^[A-Z_]+=\S+ )make ([a-z-]+)", re.MULTILINE)
    return [
        (str(page.relative_to(REPOSITORY)), target)
        for page in PAGES
        for target in sorted(set(pattern.findall(page.read_text(encoding="utf-8"))))
    ]


@pytest.mark.parametrize(("page", "target"), named_targets())
def test_every_make_target_a_page_names_exists(page: str, target: str) -> None:
    assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_file_that_a_row_of_the_faults_names_is_there() -> None:
    rows = [
        x
        for x in (REPOSITORY / "docs" / "faults.md").read_text().splitlines()
        if x.startswith("| ")
    ]
    cells = [row.strip("| ").split(" | ")[-1] for row in rows]
    named = [name for cell in cells for name in re.findall(r"`([\w/]+(?:\.py|/))`", cell)]
    assert len(named) > 40
    files = {path.name for path in TESTS.rglob("test_*.py")}
    for name in named:
        assert (TESTS / name).exists() if "/" in name else name in files, name
