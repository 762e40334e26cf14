"""What the console ships: whose files they are, how large, and that its pages carry no script."""

import hashlib
import re
from pathlib import Path

import pytest

import console_report
from support.tables import rows
from veneer_server.console import pages, static_files
from veneer_server.console.advice import ADVICE

OWN = {
    *("chart.js", "compare.js", "console.js", "drop.js", "loss.js", "votes.js"),
    *("console.css", "icon.svg", "SOURCES.md"),
}
TEMPLATES = sorted(pages.FOLDER.glob("*.html"))
SOURCES = "server/veneer_server/console/static/SOURCES.md"


def test_every_file_of_others_is_what_was_published_and_has_its_licence() -> None:
    listed = {cells[0].strip("`"): cells for cells in rows(SOURCES, "file")}
    for name, (_, _, _, _, licence, digest) in listed.items():
        content = (static_files.FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest.strip("`"), name
        [file] = re.findall(r"`([^`]+)`", licence)
        assert len((static_files.FOLDER / file).read_text(encoding="utf-8")) > 200
    others = {path.name for path in static_files.FOLDER.iterdir()} - OWN - {*listed}
    assert {n for n in others if n.endswith((".min.js", ".min.css"))} == set()


def test_what_a_browser_loads_is_small() -> None:
    assert sum(compressed for _, _, compressed in console_report.sizes()) < 100_000


def test_the_report_has_every_file_and_every_screen_without_a_violation() -> None:
    page = "docs/console-report.md"
    shipped = {f"`{name}`": f"{raw:,}" for name, raw, _ in console_report.sizes()}
    assert {cells[0]: cells[1] for cells in rows(page, "file") if cells[0] != "all"} == shipped
    found = {cells[0]: cells[1:] for cells in rows(page, "screen")}
    assert [*found] == [*console_report.SCREENS]
    assert all(cell.startswith("0 violations") for cells in found.values() for cell in cells)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_page_has_no_script_and_no_style_of_its_own_and_escapes_everything(
    template: Path,
) -> None:
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on|js:", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
    assert not re.search(r"(src|href|action)=[\"']?(https?:)?//", text)


def test_the_advice_is_that_of_the_documents() -> None:
    def plain(text: str) -> str:
        return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text).replace("`", "")

    documented = {c[0].strip("`"): plain(c[1]) for c in rows("docs/adapters.md", "reason code")}
    assert documented == ADVICE


def test_another_content_has_another_address() -> None:
    assert re.fullmatch(r"static/console\.css\?v=[0-9a-f]{12}", static_files.address("console.css"))
