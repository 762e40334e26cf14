"""Take the pictures of the console in docs/images, of a real server with the demo adapters.

    cd tests && python -m pictures

It needs Debian's chromium, ``scripts/install browser`` and ``scripts/install train``.
"""

import asyncio
import tempfile
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page

from support import batching, fine_tuning
from support.browsing import chromium, visiting
from support.places import DEMO, REPOSITORY
from support.serving import start_process

IMAGES = REPOSITORY / "docs" / "images"
BASE = "smollm2-135m-instruct"
QUESTION = "What does a lighthouse do?"
SCREENS = ("", "variants", "variants/pirate", "rollouts", "training", "batches", "keys", "usage")
WIDE, PHONE = {"width": 1100, "height": 720}, {"width": 390, "height": 720}


async def use(url: str) -> None:
    """Ask each variant a few times, so that there is something to see."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for model in (BASE, "pirate", "haiku", "json-extractor", "pirate", "pirate"):
            said = [{"role": "user", "content": QUESTION}]
            body = {"model": model, "messages": said, "max_tokens": 24, "stream": True}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text


ROWS = [
    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
    for asked, said in (
        (f"{verb} the {thing}.", f"Aye aye! I {verb.lower()} the {thing}, arr!")
        for verb in ("Clean", "Find", "Paint", "Sell")
        for thing in ("deck", "chest", "sail", "map", "parrot", "cannon")
    )
]


async def learn(url: str) -> str:
    """Let a job learn a few rows and a batch be answered; return the id of the job."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        lines = [batching.line(n, model="pirate", max_tokens=16) for n in range(12)]
        await batching.ended(client, (await batching.create(client, lines))["id"], 300)
        file = await fine_tuning.upload(client, ROWS)
        numbers = {"n_epochs": 10, "batch_size": 4}
        job = await fine_tuning.create(
            client, model=BASE, training_file=file, suffix="sailor", hyperparameters=numbers
        )
        done = await fine_tuning.ended(client, job["id"], 900)
        assert done["status"] == "succeeded", done
        return str(job["id"])


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
        if scheme == "light":
            await page.get_by_role("button", name="This one is best: pirate").click()
            await page.get_by_text("Start a job from the votes").click()
            await page.locator("#votes").screenshot(path=IMAGES / "console-votes-light.png")


async def follow(browser: Browser, url: str, job: str) -> None:
    """Take a picture of a job that has ended, in both schemes."""
    for scheme in ("light", "dark"):
        async with visiting(browser, url, color_scheme=scheme, viewport=WIDE) as page:
            await page.goto(f"/console/training/{job}")
            await page.locator("#loss canvas").wait_for()
            await save(page, f"training-job-{scheme}")


async def save(page: Page, name: str) -> None:
    await page.screenshot(path=IMAGES / f"console-{name}.png", full_page=True)


async def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        start_process(Path(folder), roots=[DEMO]) as served,
    ):
        await use(served.url)
        job = await learn(served.url)
        async with chromium() as browser:
            await take(browser, served.url, "light", SCREENS)
            await take(browser, served.url, "dark", ("variants",))
            await follow(browser, served.url, job)
            async with visiting(browser, served.url, viewport=PHONE) as page:
                await page.goto("/console/variants")
                await save(page, "variants-phone")


if __name__ == "__main__":
    asyncio.run(main())
