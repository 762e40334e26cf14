"""Variants in a real browser: the table, the journey of one adapter, strangers' texts."""

from typing import TYPE_CHECKING

import pytest

from support import builders
from support.serving import Served, until_served

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.services

XSS = "<img src=x onerror=alert(1)>"


async def add(served: Served, *names: str) -> None:
    for number, name in enumerate(names):
        builders.write(served.adapters / name, seed=number)
    await until_served(served, *names)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_are_accessible_in_both_schemes(
    browser: "Browser", echo: Served, scheme: str
) -> None:
    from support.browsing import violations, visiting

    async with visiting(browser, echo.url, color_scheme=scheme) as page:
        await page.goto("/console/variants")
        assert await violations(page) == []
        builders.write(echo.adapters / "cut", weights=b"short")
        await add(echo, "pirate", "haiku")
        for path in ("/console/variants", "/console/variants/pirate", "/console/variants/cut"):
            await page.goto(path)
            for summary in await page.locator("summary").all():
                await summary.click()
            assert await violations(page) == [], path


async def test_a_filter_narrows_the_table_while_somebody_types(
    browser: "Browser", echo: Served
) -> None:
    from support.browsing import visiting

    await add(echo, "pirate", "haiku")
    async with visiting(browser, echo.url) as page:
        await page.goto("/console/variants")
        await page.get_by_label("Name contains").press_sequentially("pir")
        await page.get_by_role("link", name="haiku", exact=True).wait_for(state="detached")
        assert await page.get_by_role("link", name="pirate", exact=True).is_visible()
        assert await page.get_by_label("Name contains").input_value() == "pir"


async def test_an_adapter_is_loaded_rolled_back_and_removed_by_its_page(
    browser: "Browser", echo: Served
) -> None:
    from support.browsing import visiting

    await add(echo, "pirate")
    async with visiting(browser, echo.url, expected=("400",)) as page:
        await page.goto("/console/variants")
        await page.get_by_role("link", name="pirate", exact=True).click()
        await page.get_by_role("button", name="Load now").click()
        await page.get_by_text("Loaded: the next request").wait_for()
        moves = page.locator("details", has_text="Its last moves")
        await moves.locator("summary").click()
        builders.write(echo.adapters / "pirate", seed=9)
        await page.get_by_text("live is revision 2").wait_for()  # the page learns it by itself
        assert await moves.get_attribute("open") is not None, "what was opened stays open"
        await page.get_by_role("button", name="Roll back to revision 1").click()
        await page.get_by_text("live is revision 1").wait_for()
        await page.get_by_label("to confirm").fill("something else")
        await page.get_by_role("button", name="Remove all of it").click()
        await page.get_by_text("Nothing was removed").wait_for()
        await page.go_back()
        await page.get_by_label("to confirm").fill("pirate")
        await page.get_by_role("button", name="Remove all of it").click()
        await page.get_by_text("Removed.").wait_for()
        await page.get_by_text("There is no adapter yet").wait_for()


async def test_the_same_for_a_terminal_can_be_copied(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    await add(echo, "pirate")
    permissions = ["clipboard-read", "clipboard-write"]
    async with visiting(browser, echo.url, permissions=permissions) as page:
        await page.goto("/console/variants/pirate")
        same = page.locator("details", has_text="adapters load pirate")
        await same.locator("summary").click()
        await same.get_by_role("button", name="Copy as veneer").click()
        await same.get_by_text("Copied").wait_for()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == "veneer adapters load pirate"


async def test_texts_of_strangers_run_nowhere(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    await add(echo, "haiku")
    builders.write(echo.adapters / XSS)
    builders.write(echo.adapters / "bad", base_model_name_or_path=XSS, peft_type=XSS)
    expected = ("404", "400", "409")
    async with visiting(browser, echo.url, expected=expected) as page:
        await page.goto("/console/variants")
        await page.get_by_role("link", name="bad", exact=True).wait_for()
        for path in ("/console/variants", "/console/variants/bad", f"/console/variants/{XSS}"):
            await page.goto(path)
            assert await page.locator("img").count() == 0
        await page.goto("/console/variants")
        await page.get_by_label("Name", exact=True).fill(XSS)
        await page.get_by_label("Source").fill(XSS)
        await page.get_by_role("button", name="Add", exact=True).click()
        await page.get_by_role("heading", name="This did not work").wait_for()
        assert await page.locator("img").count() == 0


@pytest.mark.parametrize("width", [320, 1280])
async def test_no_page_scrolls_sideways(browser: "Browser", echo: Served, width: int) -> None:
    from support.browsing import visiting

    await add(echo, "pirate-with-a-rather-long-name-as-teams-like-to-give-them-01")
    viewport = {"width": width, "height": 800}
    async with visiting(browser, echo.url, viewport=viewport) as page:
        for path in (
            "/console/variants",
            "/console/variants/pirate-with-a-rather-long-name-as-teams-like-to-give-them-01",
        ):
            await page.goto(path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
