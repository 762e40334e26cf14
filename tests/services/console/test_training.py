"""Jobs in a real browser: the form, a job as it learns, its checkpoints, strangers' texts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.fine_tuning import STAND_IN, create, ended, to_jsonl, until
from support.serving import Served, serve_echo
from support.training_rows import numbered, preferences

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.services

XSS = "<img src=x onerror=alert(1)>"


@asynccontextmanager
async def serving(folder: Path, *options: str) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    async with (
        serve_echo(folder, training={"command": [*STAND_IN, *options]}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        yield served, client


async def start(page: "Page", rows: list[Any], name: str = "rows.jsonl", **filled: str) -> None:
    await page.goto("/console/training")
    file = {"name": name, "mimeType": "application/jsonl", "buffer": to_jsonl(rows)}
    await page.get_by_label("Rows, a file").set_input_files(file)  # type: ignore[arg-type]
    for label, text in filled.items():
        await page.locator(f"#{label}").fill(text)
    await page.get_by_role("button", name="Start", exact=True).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_from_a_file_to_a_published_checkpoint(
    browser: "Browser", tmp_path: Path, scheme: str
) -> None:
    from support.browsing import violations, visiting

    async with (
        serving(tmp_path, "--step-s", "0.15") as (served, _),
        visiting(browser, served.url, color_scheme=scheme) as page,
    ):
        await page.goto("/console/training")
        await page.get_by_text("There is no job yet").wait_for()
        await page.get_by_text("More: its own name").click()
        assert await violations(page) == []
        await start(page, numbered(40), publish_to="pirate")
        await page.locator("#loss canvas").wait_for()  # it learns, and the page draws it by itself
        first = await page.locator("#by-step tbody tr").count()
        assert await violations(page) == []
        table = page.locator("details", has_text="The same as a table")
        await table.locator("summary").click()
        await page.locator(f"#by-step tbody tr:nth-child({first + 1})").wait_for()
        assert await table.get_attribute("open") is not None, "what was opened stays open"
        assert await page.locator("#loss canvas").count() == 1
        await page.get_by_text("It answers as").wait_for()
        await page.get_by_role("heading", name="Evaluation").wait_for()
        assert await violations(page) == []
        alias = page.get_by_label("Alias for the checkpoint of step 20")
        await alias.fill("better")
        async with page.expect_response(lambda response: "/console/training/ftjob" in response.url):
            pass
        assert await alias.input_value() == "better", "news leave alone what somebody types"
        await page.get_by_label("Publish the checkpoint of step 20").click()
        await (
            page.locator("tr", has_text="ckpt-step-20")
            .locator("code", has_text="better")
            .wait_for()
        )
        await page.get_by_role("link", name="All jobs").click()
        await page.get_by_role("cell", name="succeeded").wait_for()
        assert await violations(page) == []


async def test_a_job_is_paused_resumed_and_cancelled(browser: "Browser", tmp_path: Path) -> None:
    from support.browsing import visiting

    async with (
        serving(tmp_path, "--step-s", "0.05") as (served, client),
        visiting(browser, served.url) as page,
    ):
        job = await create(client)
        await until(client, job["id"], lambda found: found["status"] == "running")
        await page.goto(f"/console/training/{job['id']}")
        await page.get_by_role("button", name="Pause").click()
        await page.locator(".state.paused").wait_for()
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_role("button", name="Pause").wait_for()
        await page.locator("#cancel-it summary").click()
        await page.get_by_role("button", name="for good").click()
        await page.locator(".state.cancelled").wait_for()


async def test_wrong_rows_are_listed_with_line_and_reason(
    browser: "Browser", tmp_path: Path
) -> None:
    from support.browsing import violations, visiting

    async with (
        serving(tmp_path) as (served, _),
        visiting(browser, served.url, expected=("400",)) as page,
    ):
        wrong = [*numbered(12), {"messages": XSS}]
        await start(page, wrong, name=f"{XSS}.jsonl".replace("/", ""), publish_to="pirate")
        await page.get_by_role("heading", name="There is no job").wait_for()
        await page.get_by_role("cell", name="must be an array").wait_for()
        assert await page.get_by_role("rowheader", name="13").is_visible()
        assert await page.locator("img").count() == 0
        assert await violations(page) == []


async def test_texts_of_strangers_run_nowhere(browser: "Browser", tmp_path: Path) -> None:
    from support.browsing import visiting

    async with (
        serving(tmp_path, "--fail", XSS) as (served, client),
        visiting(browser, served.url, expected=("400", "404")) as page,
    ):
        metadata = {XSS[:60]: XSS}
        job = await create(client, metadata=metadata)
        await ended(client, job["id"])
        for path in ("/console/training", f"/console/training/{job['id']}"):
            await page.goto(path)
            assert await page.locator("code", has_text=XSS).count() > 0, path
            assert await page.locator("img").count() == 0
        await start(page, preferences(20), publish_to=XSS)
        await page.get_by_role("heading", name="This did not work").wait_for()
        assert await page.locator("img").count() == 0


@pytest.mark.parametrize("width", [320, 1280])
async def test_no_page_scrolls_sideways(browser: "Browser", tmp_path: Path, width: int) -> None:
    from support.browsing import visiting

    viewport = {"width": width, "height": 800}
    async with (
        serving(tmp_path) as (served, client),
        visiting(browser, served.url, viewport=viewport) as page,
    ):
        job = await ended(client, (await create(client))["id"])
        for path in ("training", f"training/{job['id']}", "batches"):
            await page.goto(f"/console/{path}")
            for summary in await page.locator("summary").all():
                await summary.click()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, path


async def test_a_job_is_not_asked_for_while_nobody_looks(
    browser: "Browser", tmp_path: Path
) -> None:
    from support.browsing import visiting

    async with (
        serving(tmp_path, "--step-s", "0.05") as (served, client),
        visiting(browser, served.url) as page,
    ):
        job = await create(client)
        await page.goto(f"/console/training/{job['id']}")
        async with page.expect_response(lambda response: job["id"] in response.url):
            pass  # the page asks by itself
        await page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
        )
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.evaluate("htmx.trigger('#job', 'every')")
        await page.evaluate("htmx.ajax('GET', location.href, {target: '#job'})")
        assert asked == []
