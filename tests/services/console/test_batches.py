"""Batches in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from support.batching import Gated, create, ended, line, slow
from support.serving import Served, serve_echo

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.services

XSS = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_batch_is_followed_to_its_answers(
    browser: "Browser", tmp_path: Path, scheme: str
) -> None:
    from support.browsing import violations, visiting

    engine = Gated()
    async with (
        serve_echo(tmp_path, engine) as served,
        visiting(browser, served.url, color_scheme=scheme) as page,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        await page.goto("/console/batches")
        await page.get_by_text("There is no batch yet").wait_for()
        assert await violations(page) == []
        batch = await create(client, [slow(1), line(2)])
        await page.get_by_role("link", name=batch["id"]).click()
        await page.locator("progress[max='2']").wait_for()
        assert await violations(page) == []
        engine.go.set()
        await page.get_by_text("completed").first.wait_for()
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="Download the answers").click()
        download = await downloading.value
        assert (await download.path()).read_text().count("\n") == 2
        assert await violations(page) == []
        await page.get_by_role("link", name="All batches").click()
        await page.get_by_role("link", name="Answers of").wait_for()
        assert await violations(page) == []


async def test_a_batch_is_cancelled(browser: "Browser", tmp_path: Path) -> None:
    from support.browsing import visiting

    engine = Gated()
    async with (
        serve_echo(tmp_path, engine) as served,
        visiting(browser, served.url) as page,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        batch = await create(client, [slow(1), line(2)])
        await engine.begun.wait()
        await page.goto(f"/console/batches/{batch['id']}")
        await page.locator("#cancel-it summary").click()
        await page.get_by_role("button", name="Let this batch end").click()
        await page.locator(".state.cancelling").wait_for()
        engine.go.set()
        await page.locator(".state:not(.cancelling)").wait_for()


async def test_texts_of_strangers_run_nowhere(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    async with (
        visiting(browser, echo.url, expected=("404",)) as page,
        httpx.AsyncClient(base_url=echo.url, timeout=60) as client,
    ):
        wrong = await ended(client, (await create(client, [line(1, url=XSS), XSS]))["id"])
        named = await ended(client, (await create(client, [line(1, model=XSS)]))["id"])
        for path in ("", f"/{wrong['id']}", f"/{named['id']}", f"/{XSS}"):
            await page.goto(f"/console/batches{path}")
            assert await page.locator("img").count() == 0, path
