"""A real browser, in which any complaint fails the test.

What counts as a complaint: an error or a warning of its console, a breach of the content security
policy among them, an exception in a script, and a request to anywhere but the server.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

PATIENCE_MS = 60_000
"""Bound on each wait of a page on a busy machine."""
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Debian's Chromium; no browser is downloaded."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, *, expected: tuple[str, ...] = (), **context: Any
) -> AsyncIterator[Page]:
    """Open a page of ``url`` in a context of its own; fail at the end if the browser complained.

    A complaint that contains one of the ``expected`` texts is none: Chromium reports every answer
    of 400 and above, also one that the test is about.
    """
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def watch(request: Request) -> None:
        if not request.url.startswith((url, "data:")):
            complaints.append(f"asked {request.url}")

    opened = await browser.new_context(base_url=url, **context)
    opened.set_default_timeout(PATIENCE_MS)
    page = await opened.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", watch)
    try:
        yield page
    finally:
        await opened.close()
    assert [c for c in complaints if not any(text in c for text in expected)] == []


async def opened(page: Page) -> None:
    """Open all that can be unfolded."""
    for summary in await page.locator("summary").all():
        await summary.click()


async def axe(page: Page) -> dict[str, Any]:
    """Return axe-core's report on the page as it is now."""
    source = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    await page.evaluate(source)
    found: dict[str, Any] = await page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", _RULES
    )
    return found


async def violations(page: Page) -> list[str]:
    """Return what axe-core holds against the page as it is now."""
    found = await axe(page)
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
