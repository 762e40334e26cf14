"""The journey of a newcomer on the real engine, in a real browser: ask two variants, drop a folder,
ask it too, roll back."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.places import DEMO
from support.serving import start_process
from veneer_adapters.artifact.files import FILES

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.services, pytest.mark.engine, pytest.mark.timeout(400)]

BASE = "smollm2-135m-instruct"


async def compare(page: "Page", *names: str) -> dict[str, str]:
    """Ask the named variants the same; return the text of each."""
    asked = "&".join(f"model={name}" for name in names)
    await page.goto(f"/console/compare?{asked}")
    await page.get_by_label("Prompt", exact=True).fill("What does a lighthouse do?")
    await page.get_by_label("Most tokens").fill("16")
    await page.get_by_role("button", name="Ask all").click()
    await page.get_by_text("All answers are complete.").wait_for()
    found = {}
    for name in names:
        shown = page.get_by_role("region", name=name, exact=True)
        assert "tokens/s" in await shown.inner_text()
        found[name] = await shown.locator(".answer").inner_text()
    return found


async def drop(page: "Page", folder: Path) -> None:
    await page.locator("#drop-files").set_input_files([str(folder / name) for name in FILES])
    await page.get_by_role("button", name="Upload").click()


async def test_two_are_asked_one_is_dropped_answers_as_itself_and_is_rolled_back(
    browser: "Browser", tmp_path: Path
) -> None:
    from support.browsing import visiting

    with start_process(tmp_path, roots=[DEMO]) as served:
        async with visiting(browser, served.url) as page:
            first = await compare(page, BASE, "pirate")
            assert first[BASE] != first["pirate"]
            assert all(first.values())
            await page.goto("/console/variants")
            await page.locator("#drop-name").fill("mine")
            await drop(page, DEMO / "pirate")
            await page.get_by_text("live is revision 1").wait_for()
            await drop(page, DEMO / "haiku")
            await page.get_by_text("live is revision 2").wait_for()
            assert (
                "largest change" in await page.get_by_role("region", name="Revisions").inner_text()
            )
            second = await compare(page, "mine@1", "mine@2")
            assert second["mine@1"] != second["mine@2"]
            await page.goto("/console/variants/mine")
            await page.get_by_role("button", name="Roll back to revision 1").click()
            await page.get_by_text("live is revision 1").wait_for()
