"""The frame of the console in a real browser: signing in, the keyboard, both schemes, the phone."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.console import KEY
from support.serving import Served, serve_echo

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.services


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/console/", "/console/sign-in"])
async def test_a_page_is_accessible_in_both_schemes(
    browser: "Browser", echo: Served, path: str, scheme: str
) -> None:
    from support.browsing import violations, visiting

    async with visiting(browser, echo.url, color_scheme=scheme) as page:
        await page.goto(path)
        assert await violations(page) == []


async def test_a_key_leads_in_by_keyboard_alone_and_out_again(
    browser: "Browser", tmp_path: Path
) -> None:
    from playwright.async_api import expect

    from support.browsing import PATIENCE_MS, visiting

    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        visiting(browser, served.url, expected=("401",)) as page,
    ):
        await page.goto("/console/")
        # Chromium gives it with the first frame, which can come after all is loaded.
        await expect(page.get_by_label("Key")).to_be_focused(timeout=PATIENCE_MS)
        await page.keyboard.type(KEY)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()
        assert await page.evaluate("document.cookie") == ""
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in").wait_for()
        await page.goto("/console/")
        assert await page.get_by_label("Key").is_visible()


async def test_the_first_stop_of_the_keyboard_skips_to_the_content(
    browser: "Browser", echo: Served
) -> None:
    from support.browsing import visiting

    async with visiting(browser, echo.url) as page:
        await page.goto("/console/")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "To the content"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("width", [320, 1280])
async def test_no_page_scrolls_sideways(browser: "Browser", echo: Served, width: int) -> None:
    from support.browsing import visiting

    viewport = {"width": width, "height": 800}
    async with visiting(browser, echo.url, viewport=viewport) as page:
        await page.goto("/console/")
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


async def test_figures_come_anew_and_not_while_nobody_looks(
    browser: "Browser", echo: Served
) -> None:
    from support.browsing import visiting

    async with visiting(browser, echo.url) as page:
        await page.goto("/console/")
        async with page.expect_response(lambda r: r.url.endswith("/console/")):
            pass  # the page asks by itself
        asked: list[str] = []
        await page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
        )
        page.on("request", lambda request: asked.append(request.url))
        await page.evaluate("htmx.trigger('#overview', 'every')")
        await page.evaluate("htmx.ajax('GET', location.href, {target: '#overview'})")
        assert asked == []
