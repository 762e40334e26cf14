"""Compare in a real browser: answers side by side, their differences, stopping, errors."""

from typing import TYPE_CHECKING

import pytest

from support.console import XSS, add
from support.serving import Served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.services


async def ask(page: "Page", prompt: str) -> None:
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_role("button", name="Ask all").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_answers_stream_side_by_side_with_their_figures(
    browser: "Browser", echo: Served, scheme: str
) -> None:
    from support.browsing import violations, visiting

    await add(echo, "pirate")
    async with visiting(browser, echo.url, color_scheme=scheme) as page:
        await page.goto("/console/compare")
        assert await violations(page) == []
        await ask(page, "one two three")
        await page.get_by_text("All answers are complete.").wait_for()
        for name in ("echo", "pirate"):
            answer = page.get_by_role("region", name=name, exact=True)
            assert "one two three" in (await answer.inner_text())
            assert "first token" in (await answer.inner_text())
            assert "tokens in" in (await answer.inner_text())
        assert "pirate@1#sha256:" in await page.get_by_role("region", name="pirate").inner_text()
        before = await page.locator(".answer").all_inner_texts()
        await page.get_by_label("Mark the words").check()
        assert await violations(page) == []
        await page.get_by_label("Mark the words").uncheck()
        assert await page.locator(".answer").all_inner_texts() == before
        await page.get_by_text("The same in a terminal").click()
        assert '"seed":1' in await page.locator("#compare-curl").inner_text()


async def test_the_words_that_differ_are_marked(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    async with visiting(browser, echo.url) as page:
        await page.goto("/console/compare")
        found = await page.evaluate(
            "toDifferences(toWords('a red  fox ran'), toWords('a blue  fox ran off'))"
        )
    put_together = {
        side: "".join(text for kind, text in found if kind != other)
        for side, other in (("before", "ins"), ("after", "del"))
    }
    assert put_together == {"before": "a red  fox ran", "after": "a blue  fox ran off"}
    assert ["ins", "blue"] in found
    assert ["del", "red"] in found
    assert ["same", "fox"] in found


async def test_what_a_model_writes_is_text(browser: "Browser", echo: Served) -> None:
    from support.browsing import visiting

    await add(echo, "pirate")
    async with visiting(browser, echo.url) as page:
        await page.goto("/console/compare")
        await ask(page, XSS)  # the echo engine says what it was told
        await page.get_by_text("All answers are complete.").wait_for()
        assert XSS in await page.get_by_role("region", name="pirate").inner_text()
        await page.get_by_label("Mark the words").check()
        assert await page.locator("img").count() == 0


async def test_an_unknown_name_is_said_and_the_others_answer(
    browser: "Browser", echo: Served
) -> None:
    from support.browsing import visiting

    await add(echo, "pirate")
    async with visiting(browser, echo.url, expected=("404",)) as page:
        await page.goto("/console/compare?model=pirate&model=nobody")
        await ask(page, "hello")
        failed = page.get_by_role("region", name="nobody")
        await failed.get_by_text("does not exist").wait_for()
        await page.get_by_text("All answers are complete.").wait_for()
        await page.goto("/console/compare?model=nobody&model=no-one")
        await ask(page, "hello")
        await page.get_by_role("alert").get_by_text("does not exist").wait_for()
        await page.goto("/console/compare?model=pirate")
        await ask(page, "hello")
        await page.get_by_role("alert").get_by_text("at least two").wait_for()
