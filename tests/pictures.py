"""Take the pictures of the console in docs/images, of a real server with the demo adapters.

    cd tests && python -m pictures

It needs Debian's chromium, ``scripts/install browser`` and ``scripts/install train``.
"""

import asyncio
import base64
import io
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
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
COLORS = 256
"""Of a picture, so that it takes a third of the room."""


async def use(url: str, demo: Path) -> None:
    """Let a canary answer with haiku's weights, and ask each variant a few times."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        other = {"source": str(demo / "haiku"), "alias": "next"}
        published = await client.post("/v1/adapters/pirate/revisions", json=other)
        assert published.status_code == 201, published.text
        both = [{"revision": 1, "weight": 80}, {"revision": 2, "weight": 20}]
        moving = {"targets": both, "guard": {"min_requests": 50, "margin": 0.05}}
        moved = await client.put("/v1/adapters/pirate/aliases/live", json=moving)
        assert moved.status_code == 200, moved.text
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
            keep(await page.locator("#votes").screenshot(), "votes-light")


async def follow(browser: Browser, url: str, job: str) -> None:
    """Take a picture of a job that has ended, in both schemes."""
    for scheme in ("light", "dark"):
        async with visiting(browser, url, color_scheme=scheme, viewport=WIDE) as page:
            await page.goto(f"/console/training/{job}")
            await page.locator("#loss canvas").wait_for()
            await save(page, f"training-job-{scheme}")


async def save(page: Page, name: str) -> None:
    keep(await page.screenshot(full_page=True), name)


def keep(png: bytes, name: str) -> None:
    """Write a picture with the colours that it needs most."""
    small = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS)
    small.save(IMAGES / f"console-{name}.png", optimize=True)


async def sheet(
    browser: Browser, url: str, name: str, names: tuple[str, ...], *, shown_px: int, **context: Any
) -> None:
    """Take one picture of what one sees first of every screen, side by side."""
    figures = []
    async with visiting(browser, url, **context) as page:
        for screen in names:
            await page.goto(f"/console/{screen}")
            shot = base64.b64encode(await page.screenshot()).decode()
            figures.append(f'<img width="{shown_px}" src="data:image/png;base64,{shot}">')
    page = await browser.new_page(viewport={"width": 4 * shown_px + 52, "height": 100})
    style = "body{display:flex;flex-wrap:wrap;gap:12px;margin:8px;background:#888}"
    await page.set_content(f"<style>{style}</style>{''.join(figures)}")
    await save(page, name)
    await page.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        # A copy, so that no picture shows where this repository is.
        demo = Path(shutil.copytree(DEMO, Path(folder, "demo")))
        served = stack.enter_context(start_process(Path(folder), roots=[demo]))
        await use(served.url, demo)
        job = await learn(served.url)
        every = (*SCREENS, f"training/{job}", "compare")
        async with chromium() as browser:
            await take(browser, served.url, "light", SCREENS)
            await take(browser, served.url, "dark", ("variants",))
            await follow(browser, served.url, job)
            for name, seen in (
                ("dark", {"color_scheme": "dark", "viewport": WIDE, "shown_px": 550}),
                ("phone", {"color_scheme": "light", "viewport": PHONE, "shown_px": 300}),
            ):
                await sheet(browser, served.url, f"every-screen-{name}", every, **seen)
            async with visiting(browser, served.url, viewport=PHONE) as page:
                await page.goto("/console/variants")
                await save(page, "variants-phone")


if __name__ == "__main__":
    asyncio.run(main())
