"""What holds on every screen: 200 % zoom, a phone, the keyboard alone, reduced motion, axe."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.serving import Served, serve_echo, until_served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.services

SCREENS = (
    "",
    "variants",
    "variants/pirate",
    "variants/cut",
    "reports/pirate",
    "compare",
    "rollouts",
    "keys",
    "usage",
    "training",
    "batches",
    "nothing-is-here",
)
LONG = "a-variant-with-a-rather-long-name-as-teams-like-to-give-them-01"
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
async def lived_in(tmp_path: Path) -> AsyncIterator[Served]:
    """A server with a rollout, a failed adapter, a long name, and some usage."""
    other = builders.write(tmp_path / "shelf" / "other", seed=3)
    async with serve_echo(tmp_path, adapters={"roots": [tmp_path / "shelf"]}) as served:
        builders.write(served.adapters / "pirate")
        builders.write(served.adapters / LONG, seed=5)
        builders.write(served.adapters / "cut", weights=b"short")
        await until_served(served, "pirate", LONG)
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            body = {"source": str(other), "alias": "next"}
            made = await client.post("/v1/adapters/pirate/revisions", json=body)
            assert made.status_code == 201, made.text
            targets = [{"revision": 1, "weight": 90}, {"revision": 2, "weight": 10}]
            moved = await client.put("/v1/adapters/pirate/aliases/live", json={"targets": targets})
            assert moved.status_code == 200, moved.text
            said = {"model": "pirate", "messages": [{"role": "user", "content": "hi"}]}
            assert (await client.post("/v1/chat/completions", json=said)).status_code == 200
        assert served.parts is not None
        await served.parts.server.ledger.flush()
        yield served


async def every_screen(page: "Page") -> AsyncIterator[str]:
    for screen in SCREENS:
        await page.goto(f"/console/{screen}")
        yield screen


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_scrolls_sideways_or_is_cut_off(
    browser: "Browser", lived_in: Served, size: str
) -> None:
    from support.browsing import violations, visiting

    async with visiting(browser, lived_in.url, expected=("404",), **SIZES[size]) as page:
        width = page.viewport_size["width"] if page.viewport_size else 0
        async for screen in every_screen(page):
            for summary in await page.locator("summary").all():
                await summary.click()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, screen
            assert await violations(page) == [], screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_has_nothing_against_any_screen(
    browser: "Browser", lived_in: Served, scheme: str
) -> None:
    from support.browsing import violations, visiting

    async with visiting(browser, lived_in.url, expected=("404",), color_scheme=scheme) as page:
        async for screen in every_screen(page):
            for summary in await page.locator("summary").all():
                await summary.click()
            assert await violations(page) == [], screen


async def test_the_keyboard_reaches_everything_sees_where_it_is_and_gets_out_again(
    browser: "Browser", lived_in: Served
) -> None:
    from support.browsing import visiting

    async with visiting(browser, lived_in.url, expected=("404",)) as page:
        async for screen in every_screen(page):
            stops = await page.locator(
                "a[href]:visible, button:enabled:visible, input:not([type=hidden]):enabled:visible,"
                " select:visible, textarea:visible, summary:visible, [tabindex='0']:visible"
            ).count()
            reached: list[str] = []
            for _ in range(stops + 5):
                await page.keyboard.press("Tab")
                at = await page.evaluate(FOCUSED)
                # Behind the last stop is the browser's own bar; without one it begins again.
                if at["is_body"] or at["what"] in reached[:1]:
                    break
                assert at["seen"], (screen, at)
                assert at["outlined"], (screen, at)
                reached.append(at["what"])
            else:
                pytest.fail(f"the keyboard does not get out of {screen!r}: {reached[-3:]}")
            assert len(reached) >= stops, (screen, len(reached), stops)


async def test_with_reduced_motion_nothing_moves(browser: "Browser", lived_in: Served) -> None:
    from support.browsing import visiting

    async with visiting(browser, lived_in.url, expected=("404",), reduced_motion="reduce") as page:
        async for screen in every_screen(page):
            assert await page.evaluate(MOVING) == [], screen
