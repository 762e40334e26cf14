"""Votes in Compare in a real browser: kept there, downloaded, and learned from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.console import KEY, XSS, add, make_key
from support.fine_tuning import STAND_IN
from support.serving import Served, serve_echo
from veneer_server.tenancy.scopes import Scope

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.services


async def ask(page: "Page", prompt: str) -> None:
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_role("button", name="Ask all").click()
    await page.locator("#differences:enabled").wait_for()


async def vote(page: "Page", prompt: str, best: str) -> None:
    await ask(page, prompt)
    await page.get_by_role("button", name=f"This one is best: {best}").click()
    await page.get_by_text("Voted best.").wait_for()


async def rows_of(page: "Page") -> list[dict[str, Any]]:
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download").click()
    text = (await (await downloading.value).path()).read_text()
    return [json.loads(one) for one in text.splitlines()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_ten_votes_become_a_job_that_learns_preferences(
    browser: "Browser", tmp_path: Path, scheme: str
) -> None:
    from support.browsing import violations, visiting

    async with (
        serve_echo(tmp_path, training={"command": STAND_IN}) as served,
        visiting(browser, served.url, color_scheme=scheme) as page,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        await add(served, "pirate", "haiku")
        await page.goto("/console/compare?model=echo&model=pirate&model=haiku")
        await page.get_by_text("No votes yet. A job needs 10 rows.").wait_for()
        await page.get_by_text("More: system prompt").click()
        await page.get_by_label("System prompt").fill("Be kind.")
        await vote(page, "number 0", "pirate")
        await page.get_by_text("2 rows of 1 vote. A job needs 10 rows: 8 more.").wait_for()
        assert await violations(page) == []
        row = (await rows_of(page))[0]
        said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "number 0"}]
        assert row["input"] == {"messages": said}
        [best], [other] = row["preferred_output"], row["non_preferred_output"]
        assert best["role"] == other["role"] == "assistant"
        assert best["content"] != other["content"]
        await page.get_by_text("Start a job from the votes").click()
        start = page.get_by_role("button", name="Start with the votes")
        assert await start.is_disabled()
        for number in range(1, 5):
            await vote(page, f"number {number}", "haiku")
        await page.get_by_text("10 rows of 5 votes. Enough for a job.").wait_for()
        assert await violations(page) == []
        await page.locator("#publish_to").fill("polite")
        await start.click()
        await page.get_by_role("heading", name="ftjob-").wait_for()
        [job] = (await client.get("/v1/fine_tuning/jobs")).json()["data"]
        assert job["method"]["type"] == "dpo"
        assert job["evaluation"]["publish_to"] == "polite"
        sent = (await client.get(f"/v1/files/{job['training_file']}/content")).text
        assert len(sent.splitlines()) == 10


async def test_a_vote_is_taken_back_and_all_are_forgotten(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    await add(echo, "pirate")
    async with visiting(browser, echo.url) as page:
        await page.goto("/console/compare")
        await vote(page, XSS, "echo")
        await vote(page, "two", "pirate")
        await page.get_by_role("button", name="Take back").click()
        await page.get_by_text("1 row of 1 vote.").wait_for()
        await page.reload()
        await page.get_by_text("1 row of 1 vote.").wait_for()
        [row] = await rows_of(page)
        assert row["input"]["messages"] == [{"role": "user", "content": XSS}]
        assert await page.locator("img").count() == 0
        await page.get_by_text("Forget all").click()
        await page.get_by_role("button", name="Forget every vote").click()
        await page.get_by_text("No votes yet.").wait_for()
        assert await page.get_by_role("button", name="Download").is_disabled()


async def test_same_answers_are_no_vote(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    await add(echo, "pirate")
    async with visiting(browser, echo.url) as page:
        await page.goto("/console/compare?model=pirate&model=pirate")
        await ask(page, "the same")
        assert await page.get_by_role("button", name="This one is best").count() == 0


async def test_who_signs_in_with_the_same_browser_sees_their_own_votes(
    browser: "Browser", tmp_path: Path
) -> None:
    from support.browsing import visiting

    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        visiting(browser, served.url, expected=("401",)) as page,
    ):
        await add(served, "acme/pirate", "bell/pirate")
        votes = {"acme": "1 row of 1 vote.", "bell": "No votes yet."}
        for tenant, told in votes.items():
            key = await make_key(served, Scope.INFER, tenant=tenant)
            await page.goto("/console/sign-in")
            await page.get_by_label("Key").fill(key)
            await page.get_by_role("button", name="Sign in").click()
            await page.goto(f"/console/compare?model=echo&model={tenant}/pirate")
            await page.get_by_text("needs the scope").wait_for()
            if tenant == "acme":
                await vote(page, "hello", "echo")
            await page.get_by_text(told).wait_for()
