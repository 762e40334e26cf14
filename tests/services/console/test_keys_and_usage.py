"""Keys and usage in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from support.console import KEY
from support.serving import Served, serve_echo

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.services

HELLO = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_key_is_made_copied_and_revoked(
    browser: "Browser", tmp_path: Path, scheme: str
) -> None:
    from support.browsing import violations, visiting

    permissions = ["clipboard-read", "clipboard-write"]
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        visiting(
            *(browser, served.url),
            expected=("401",),
            color_scheme=scheme,
            permissions=permissions,
        ) as page,
    ):
        await page.goto("/console/keys")
        await page.get_by_label("Key").fill(KEY)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("link", name="Keys").click()
        assert await violations(page) == []
        await page.get_by_label("Name, so that").fill("ci")
        await page.get_by_role("button", name="Make the key").click()
        text = await page.locator("#new-key").inner_text()
        await page.get_by_role("button", name="Copy", exact=True).click()
        await page.get_by_text("Copied").wait_for()
        assert await page.evaluate("navigator.clipboard.readText()") == text
        assert await violations(page) == []
        await page.locator("summary", has_text="Revoke").click()
        await page.get_by_role("button", name="for good").click()
        await page.get_by_text("revoked just now").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_usage_is_a_chart_beside_its_table(
    browser: "Browser", echo: Served, scheme: str
) -> None:
    from support.browsing import violations, visiting

    assert echo.parts is not None
    async with httpx.AsyncClient(base_url=echo.url, timeout=60) as client:
        assert (await client.post("/v1/chat/completions", json=HELLO)).status_code == 200
    await echo.parts.server.ledger.flush()
    viewport = {"width": 320, "height": 800}
    async with visiting(browser, echo.url, color_scheme=scheme, viewport=viewport) as page:
        await page.goto("/console/usage")
        await page.locator("#chart canvas").wait_for()
        assert await page.get_by_role("row").count() > 7
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320
