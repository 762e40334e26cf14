"""Write docs/console-report.md: what axe-core says of every screen, and what a browser loads.

    cd tests && python -m console_report

It needs Debian's chromium and ``scripts/install browser``. A test holds the page to the screens
and the files that there are.
"""

import asyncio
import gzip
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from support.living import SCREENS, LivedIn, living_in
from support.places import REPOSITORY
from veneer_server.console import static_files

PAGE = REPOSITORY / "docs" / "console-report.md"
SCHEMES = ("light", "dark")
LOADED = (".js", ".css", ".svg")
Found = Mapping[tuple[str, str], str]
"""What is said of a screen in a scheme."""
HEAD = """# The console: what axe-core says, and what it weighs

Written by `cd tests && python -m console_report`.

## Accessibility

[axe-core](https://github.com/dequelabs/axe-core) {axe} in Chromium {chromium}, with its \
rules for WCAG 2.0, 2.1 and 2.2 at the levels A and AA and its best practices. On each screen \
everything that unfolds is open. The same runs in `make test-services`, where a single violation \
fails, also on a phone and at 200 % zoom.

"""


def sizes() -> list[tuple[str, int, int]]:
    """Return each file that a browser may load, with its bytes and those after gzip."""
    files = sorted(p for p in static_files.FOLDER.iterdir() if p.suffix in LOADED)
    return [(p.name, p.stat().st_size, len(gzip.compress(p.read_bytes(), mtime=0))) for p in files]


def weight() -> str:
    """Return the part of the page with the files."""
    found = sizes()
    rows = [(f"`{name}`", f"{raw:,}", f"{small:,}") for name, raw, small in found]
    whole = ("all", f"{sum(s[1] for s in found):,}", f"{sum(s[2] for s in found):,}")
    told = (
        "## What a browser loads\n\nThe files come as they are; their addresses change with"
        " their content, so a browser loads each once. Charts and Compare load theirs only where"
        " they are. A test fails at 100,000 bytes after gzip.\n\n"
    )
    return told + table(("file", "bytes", "after gzip"), [*rows, whole])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    first, *others = (f"| {' | '.join(line)} |\n" for line in (head, *rows))
    return "".join([first, "|---" * (first.count("|") - 1) + "|\n", *others])


def accessibility(found: Found) -> str:
    rows = [(name, *(found[name, scheme] for scheme in SCHEMES)) for name in SCREENS]
    return table(("screen", *SCHEMES), rows)


async def look(lived_in: LivedIn) -> tuple[Found, str, str]:
    """Return what axe-core says of each screen, its version and the browser's."""
    from support.browsing import axe, chromium, opened, visiting

    found: dict[tuple[str, str], str] = {}
    async with chromium() as browser:
        for scheme in SCHEMES:
            async with visiting(
                browser, lived_in.url, expected=("404",), color_scheme=scheme
            ) as page:
                for name, path in lived_in.screens.items():
                    await page.goto(f"/console/{path}")
                    await opened(page)
                    said = await axe(page)
                    passed, wrong = len(said["passes"]), len(said["violations"])
                    found[name, scheme] = f"{wrong} violations, {passed} rules passed"
        return found, said["testEngine"]["version"], browser.version


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with living_in(Path(folder)) as lived_in:
            found, axe, chromium = await look(lived_in)
    head = HEAD.format(axe=axe, chromium=chromium.partition(".")[0])
    PAGE.write_text(f"{head}{accessibility(found)}\n{weight()}", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
