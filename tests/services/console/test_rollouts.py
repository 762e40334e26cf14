"""Rollouts in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from support import builders
from support.serving import serve_echo, until_served

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.services


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_rollout_from_its_beginning_to_its_promotion(
    browser: "Browser", tmp_path: Path, scheme: str
) -> None:
    from support.browsing import violations, visiting

    other = builders.write(tmp_path / "shelf" / "other", seed=3)
    async with (
        serve_echo(tmp_path, adapters={"roots": [tmp_path / "shelf"]}) as echo,
        visiting(browser, echo.url, color_scheme=scheme) as page,
        httpx.AsyncClient(base_url=echo.url, timeout=60) as client,
    ):
        builders.write(echo.adapters / "pirate")
        await until_served(echo, "pirate")
        body = {"source": str(other), "alias": "next"}
        assert (await client.post("/v1/adapters/pirate/revisions", json=body)).status_code == 201
        await page.goto("/console/rollouts")
        assert await violations(page) == []
        await page.goto("/console/variants/pirate")
        assert await violations(page) == []
        number = page.get_by_label("Share of the canary, in %")
        await page.get_by_label("as a slider").focus()
        await page.keyboard.press("ArrowRight")
        assert await number.input_value() == "11"
        await number.fill("40")
        assert await page.get_by_label("as a slider").input_value() == "40"
        await number.fill("11")
        await page.get_by_role("button", name="Begin").click()
        await page.get_by_role("cell", name="11 %").wait_for()
        for summary in await page.locator("summary").all():
            await summary.click()
        assert await violations(page) == []
        other_tab = await page.context.new_page()
        await other_tab.goto("/console/rollouts")
        await page.get_by_role("button", name="Promote revision 2").click()
        await page.get_by_text("live is revision 2").wait_for()
        await other_tab.get_by_role("button", name="Return to revision 1").click()
        await other_tab.get_by_role("heading", name="This did not work").wait_for()
        await page.reload()
        assert await page.get_by_text("live is revision 2").is_visible(), (
            "who was late moved nothing"
        )
