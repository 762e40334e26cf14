"""Take the pictures of the console in docs/images, of a real server with the demo adapters.

    cd tests && python -m pictures

It needs Debian's chromium and ``scripts/install browser``.
"""

import asyncio
import tempfile
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page

from support.browsing import chromium, visiting
from support.places import DEMO, REPOSITORY
from support.serving import start_process

IMAGES = REPOSITORY / "docs" / "images"
BASE = "smollm2-135m-instruct"
QUESTION = "What does a lighthouse do?"
SCREENS = ("", "variants", "variants/pirate", "rollouts", "keys", "usage")
WIDE, PHONE = {"width": 1100, "height": 720}, {"width": 390, "height": 720}


async def use(url: str) -> None:
    """Ask each variant a few times, so that there is something to see."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for model in (BASE, "pirate", "haiku", "json-extractor", "pirate", "pirate"):
            said = [{"role": "user", "content": QUESTION}]
            body = {"model": model, "messages": said, "max_tokens": 24, "stream": True}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text


async def compare(page: Page) -> None:
    """Ask three variants the same, and wait for their answers."""
    await page.goto("/console/compare")
    for place, name in enumerate((BASE, "pirate", "haiku", ""), 1):
        await page.get_by_label(f"Variant {place}").fill(name)
    await page.get_by_label("Prompt", exact=True).fill(QUESTION)
    await page.get_by_label("Most tokens").fill("60")
    await page.get_by_role("button", name="Ask all").click()
    await page.locator("#differences:enabled").wait_for()  # every answer is complete


async def take(browser: Browser, url: str, scheme: str, names: tuple[str, ...]) -> None:
    """Take a picture of the screens called ``names``, and of a comparison, in one scheme."""
    async with visiting(browser, url, color_scheme=scheme, viewport=WIDE) as page:
        for name in names:
            await page.goto(f"/console/{name}")
            await save(page, f"{name.replace('/', '-') or 'overview'}-{scheme}")
        await compare(page)
        await save(page, f"compare-{scheme}")


async def save(page: Page, name: str) -> None:
    await page.screenshot(path=IMAGES / f"console-{name}.png", full_page=True)


async def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        start_process(Path(folder), roots=[DEMO]) as served,
    ):
        await use(served.url)
        async with chromium() as browser:
            await take(browser, served.url, "light", SCREENS)
            await take(browser, served.url, "dark", ("variants",))
            async with visiting(browser, served.url, viewport=PHONE) as page:
                await page.goto("/console/variants")
                await save(page, "variants-phone")


if __name__ == "__main__":
    asyncio.run(main())
