"""Every query of every dashboard and alert, asked of a real Prometheus under real traffic."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
import yaml

from support.fine_tuning import STAND_IN
from support.fine_tuning import create as create_job
from support.places import REPOSITORY
from support.scraping import prometheus
from support.serving import POLL_S, Served, start_process

pytestmark = [
    pytest.mark.services,
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

RULES = REPOSITORY / "deploy" / "prometheus"
DASHBOARDS = sorted((REPOSITORY / "deploy" / "grafana" / "dashboards").glob("*.json"))
VARIABLES = {"$job": "veneer", "$instance": ".*", "$adapter": ".*", "$top": "5"} | {
    "$__rate_interval": "1m"
}
OF_A_GUARD = {"veneer_alias_rollbacks_total"}
"""Begins when the first request through a guarded alias ends; ordinary traffic has none."""
DATA_S = 60
"""Bound on the time until every panel has data."""


class Asked(NamedTuple):
    """One query, and where it stands."""

    where: str
    expr: str


def panel_queries() -> Iterator[Asked]:
    for file in DASHBOARDS:
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                where = f"{file.stem}: {panel['title']} {target['refId']}"
                yield Asked(where, filled_in(target["expr"]))


def annotations() -> Iterator[Asked]:
    for file in DASHBOARDS:
        for note in json.loads(file.read_text())["annotations"]["list"]:
            yield Asked(f"{file.stem}: {note['name']}", filled_in(note["expr"]))


def rule_queries() -> Iterator[Asked]:
    for group in yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield Asked(rule.get("alert") or rule["record"], rule["expr"])


def filled_in(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


async def ask(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 200, f"{query}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


async def use(served: Served) -> None:
    """Send what users send: every adapter and the base, streams and documents, an error."""
    models = ("pirate", "haiku", "json-extractor", "tool-caller", "smollm2-135m-instruct")
    async with httpx.AsyncClient(base_url=served.url, timeout=120) as client:
        for number, model in enumerate(models * 2):
            body = {
                "model": model,
                "messages": [{"role": "user", "content": "What does a lighthouse do?"}],
                "max_tokens": 12,
                "stream": number % 5 != 4,
            }
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
        await client.post("/v1/chat/completions", json={**body, "model": "no-such"})


async def train(served: Served) -> None:
    """Begin a job of hundreds of steps, which is trained as long as the server runs."""
    async with httpx.AsyncClient(base_url=served.url, timeout=120) as client:
        numbers = {"n_epochs": 50, "batch_size": 4}
        await create_job(client, model="smollm2-135m-instruct", hyperparameters=numbers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus with our rules that watched a server with fewer slots than adapters."""
    folder = tmp_path_factory.mktemp("dashboards")
    trainer = [*STAND_IN, "--step-s", "0.5"]
    few = {
        "VENEER_ADAPTERS__DEVICE_SLOTS": "2",
        "VENEER_ADAPTERS__HOST_SLOTS": "4",
        "VENEER_TRAINING__COMMAND": json.dumps(trainer),
    }
    demo = REPOSITORY / "adapters" / "demo"
    with start_process(folder, roots=[demo], environ=few) as served:
        async with prometheus(served, folder, rules=RULES / "alerts.yaml") as client:
            async with asyncio.timeout(DATA_S):
                while not await ask(client, "up == 1"):
                    await asyncio.sleep(POLL_S)
            await use(served)
            await train(served)
            # A rate needs a sample from before and one from after.
            seen = "max_over_time(veneer_refusals_total[1m]) > 0"
            async with asyncio.timeout(DATA_S):
                while not await ask(client, seen):
                    await asyncio.sleep(POLL_S)
            await use(served)
            yield client


async def test_every_panel_has_data(scraped: httpx.AsyncClient) -> None:
    """Prints each query's first value; pytest shows them with ``-rP``."""
    missing = {asked.where: asked.expr for asked in panel_queries()}
    assert len(missing) >= 60
    try:
        async with asyncio.timeout(DATA_S):
            while missing:
                for where, expr in list(missing.items()):
                    if numbers := [n for n in await values(scraped, expr) if not math.isnan(n)]:
                        print(f"| {where} | {len(numbers)} | {numbers[0]:.4g} |")
                        del missing[where]
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        pytest.fail(f"no data for {missing}")


async def values(client: httpx.AsyncClient, query: str) -> list[float]:
    return [float(series["value"][1]) for series in await ask(client, query)]


async def test_every_variable_has_values(scraped: httpx.AsyncClient) -> None:
    for file in DASHBOARDS:
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] != "query":
                continue
            query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert query is not None
            match = {"match[]": filled_in(query[1])}
            answer = await scraped.get(f"/api/v1/label/{query[2]}/values", params=match)
            assert answer.json()["data"], variable


async def test_every_metric_a_rule_or_panel_names_exists(scraped: httpx.AsyncClient) -> None:
    answer = await scraped.get("/api/v1/label/__name__/values")
    existing = {*answer.json()["data"], "up"}
    for asked in (*panel_queries(), *annotations(), *rule_queries()):
        await ask(scraped, asked.expr)
        named = set(re.findall(r"\b(?:veneer|vllm|process)[_:]\w+", asked.expr))
        named -= set(re.findall(r"\bjob:\w+:\w+", asked.expr))
        assert named <= existing | {"veneer_requests_failed"} | OF_A_GUARD, asked


async def test_every_rule_is_evaluated_and_no_alert_is_raised_by_ordinary_traffic(
    scraped: httpx.AsyncClient,
) -> None:
    groups = (await scraped.get("/api/v1/rules")).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(list(rule_queries()))
    assert {rule["health"] for rule in rules} == {"ok"}
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing == set()
