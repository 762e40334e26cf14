"""Publishing by dropping a folder or two files onto a page, in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import builders
from support.serving import Served
from veneer_adapters.artifact.files import FILES

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.services


async def drop(page: "Page", *paths: Path) -> None:
    """Drop what is at ``paths`` onto the page, as the mouse of a person does."""
    devtools = await page.context.new_cdp_session(page)
    files = [str(path) for path in paths]
    dragged = {"items": [], "files": files, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 200, "y": 200, "data": dragged}
        await devtools.send("Input.dispatchDragEvent", event)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_dropped_files_become_an_adapter_and_a_second_drop_its_next_revision(
    browser: "Browser", echo: Served, tmp_path: Path, scheme: str
) -> None:
    from support.browsing import violations, visiting

    async with visiting(browser, echo.url, color_scheme=scheme) as page:
        await page.goto("/console/variants")
        folder = builders.write(tmp_path / "pirate")
        await drop(page, folder / FILES[0])
        await page.get_by_text("An adapter is one folder with").wait_for()
        await drop(page, folder)
        await page.get_by_text("Both files are there").wait_for()
        assert await violations(page) == []
        await page.keyboard.press("Enter")  # the button has the focus, for the folder has a name
        await page.get_by_text("live is revision 1").wait_for()
        other = builders.write(tmp_path / "b", seed=7)
        await drop(page, *(other / name for name in FILES))
        await page.get_by_text("Both files are there").wait_for()
        await page.keyboard.press("Enter")
        await page.get_by_text("live is revision 2").wait_for()
        await page.get_by_role("button", name="Roll back to revision 1").click()
        await page.get_by_text("live is revision 1").wait_for()


async def test_files_are_chosen_by_keyboard_alone(
    browser: "Browser", echo: Served, tmp_path: Path
) -> None:
    from support.browsing import visiting

    folder = builders.write(tmp_path / "a")
    async with visiting(browser, echo.url) as page:
        # The browser shows its own dialog until somebody listens, which it learns with a delay.
        page.on("filechooser", lambda chooser: None)
        await page.goto("/console/variants")
        await page.locator("#drop-name").focus()
        await page.keyboard.type("pirate")
        await page.keyboard.press("Tab")
        async with page.expect_file_chooser() as chooser:
            await page.keyboard.press("Enter")
        await (await chooser.value).set_files([str(folder / name) for name in FILES])
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Upload"
        await page.keyboard.press("Enter")
        await page.get_by_text("live is revision 1").wait_for()


async def test_a_refusal_is_said_on_the_page_with_what_to_do(
    browser: "Browser", echo: Served, tmp_path: Path
) -> None:
    from support.browsing import violations, visiting

    folder = builders.write(tmp_path / "cut", weights=b"short")
    async with visiting(browser, echo.url, expected=("400",)) as page:
        await page.goto("/console/variants")
        await page.locator("#drop-files").set_input_files(str(folder / FILES[0]))
        await page.locator("#drop-name").fill("<img src=x onerror=alert(1)>")
        await page.get_by_role("button", name="Upload").click()
        wrong = page.locator("#drop-wrong")
        await wrong.get_by_text("An adapter is one folder with").wait_for()
        await page.locator("#drop-files").set_input_files([str(folder / n) for n in FILES])
        await page.get_by_role("button", name="Upload").click()
        await wrong.get_by_text("is not a name an adapter can have").wait_for()
        await page.locator("#drop-name").fill("pirate")
        await page.get_by_role("button", name="Upload").click()
        await wrong.get_by_text("The copy is incomplete").wait_for()
        assert await violations(page) == []
        assert await page.locator("img").count() == 0


async def test_without_the_script_the_form_sends_the_files(
    browser: "Browser", echo: Served, tmp_path: Path
) -> None:
    from support.browsing import visiting

    folder = builders.write(tmp_path / "a")
    context: dict[str, Any] = {"java_script_enabled": False}
    async with visiting(browser, echo.url, **context) as page:
        await page.goto("/console/variants")
        await page.locator("#drop-name").fill("pirate")
        await page.locator("#drop-files").set_input_files([str(folder / n) for n in FILES])
        await page.get_by_role("button", name="Upload").click()
        await page.get_by_text("live is revision 1").wait_for()
