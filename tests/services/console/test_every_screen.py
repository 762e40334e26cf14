"""What holds on every screen: 200 % zoom, a phone, the keyboard alone, reduced motion, axe."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from support.living import LivedIn, living_in

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.services

SIZES = {
    "zoom": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
    "phone": {"viewport": {"width": 320, "height": 640}, "has_touch": True},
}
FOCUSED = """() => {
    const at = document.activeElement, box = at.getBoundingClientRect();
    const style = getComputedStyle(at);
    return {
        what: at.outerHTML.slice(0, 120),
        is_body: at === document.body,
        seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    };
}"""
MOVING = """() => [...document.querySelectorAll("*")].filter((one) => {
    const style = getComputedStyle(one);
    return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
}).map((one) => one.outerHTML.slice(0, 120)).concat(document.getAnimations().map(String))"""


@pytest_asyncio.fixture
async def lived_in(tmp_path: Path) -> AsyncIterator[LivedIn]:
    async with living_in(tmp_path) as found:
        yield found


async def every_screen(page: "Page", lived_in: LivedIn) -> AsyncIterator[str]:
    for screen, path in lived_in.screens.items():
        await page.goto(f"/console/{path}")
        yield screen


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_scrolls_sideways_or_is_cut_off(
    browser: "Browser", lived_in: LivedIn, size: str
) -> None:
    from support.browsing import opened, violations, visiting

    async with visiting(browser, lived_in.url, expected=("404",), **SIZES[size]) as page:
        width = page.viewport_size["width"] if page.viewport_size else 0
        async for screen in every_screen(page, lived_in):
            await opened(page)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, screen
            assert await violations(page) == [], screen


async def test_every_column_of_the_variants_is_seen_on_a_small_laptop(
    browser: "Browser", lived_in: LivedIn
) -> None:
    from support.browsing import visiting

    async with visiting(browser, lived_in.url, viewport={"width": 1024, "height": 768}) as page:
        await page.goto("/console/variants")
        table = page.get_by_role("region", name="All variants")
        assert await table.evaluate("region => region.scrollWidth - region.clientWidth") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_has_nothing_against_any_screen(
    browser: "Browser", lived_in: LivedIn, scheme: str
) -> None:
    from support.browsing import opened, violations, visiting

    async with visiting(browser, lived_in.url, expected=("404",), color_scheme=scheme) as page:
        async for screen in every_screen(page, lived_in):
            await opened(page)
            assert await violations(page) == [], screen


async def test_the_keyboard_reaches_everything_sees_where_it_is_and_gets_out_again(
    browser: "Browser", lived_in: LivedIn
) -> None:
    from support.browsing import visiting

    async with visiting(browser, lived_in.url, expected=("404",)) as page:
        async for screen in every_screen(page, lived_in):
            stops = await page.locator(
                "a[href]:visible, button:enabled:visible, input:not([type=hidden]):enabled:visible,"
                " select:visible, textarea:visible, summary:visible, [tabindex='0']:visible"
            ).count()
            reached: list[str] = []
            for _ in range(stops + 5):
                await page.keyboard.press("Tab")
                at = await page.evaluate(FOCUSED)
                # Behind the last stop is the browser's own bar; then it begins again. A page whose
                # field has the focus from the start begins in its middle.
                if at["what"] in reached[:1]:
                    break
                if at["is_body"]:
                    continue
                assert at["seen"], (screen, at)
                assert at["outlined"], (screen, at)
                reached.append(at["what"])
            else:
                pytest.fail(f"the keyboard does not get out of {screen!r}: {reached[-3:]}")
            assert len(reached) >= stops, (screen, len(reached), stops)


async def test_with_reduced_motion_nothing_moves(browser: "Browser", lived_in: LivedIn) -> None:
    from support.browsing import visiting

    async with visiting(browser, lived_in.url, expected=("404",), reduced_motion="reduce") as page:
        async for screen in every_screen(page, lived_in):
            assert await page.evaluate(MOVING) == [], screen
