"""Writes the table of compatibility in docs/api.md from the list of requirements.

``python -m conformance.compatibility --check`` (in tests/) says whether it fits.
"""

import sys
from collections import defaultdict
from pathlib import Path

from conformance.requirements import REQUIREMENTS

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
BEGIN, END = "<!-- compatibility: begin -->\n", "<!-- compatibility: end -->\n"


def table() -> str:
    """Return how many promises each area has, and what we do instead where we differ."""
    areas: dict[str, list[str]] = defaultdict(list)
    for id_ in REQUIREMENTS:
        areas[id_.split(":")[0]].append(id_)
    lines = ["| area | tested behaviours | of those, different from the official service |"]
    lines.append("|---|---|---|")
    for area in sorted(areas):
        apart = [id_ for id_ in areas[area] if REQUIREMENTS[id_].divergence]
        lines.append(f"| {area} | {len(areas[area])} | {len(apart) or '-'} |")
    lines.append(f"| all | {len(REQUIREMENTS)} | {sum(map(_differs, REQUIREMENTS))} |")
    lines += ["", "| what is different | what the server does instead, and why |", "|---|---|"]
    for id_ in sorted(filter(_differs, REQUIREMENTS)):
        lines.append(f"| `{id_}` | {REQUIREMENTS[id_].divergence} |")
    return "\n".join(lines) + "\n"


def _differs(id_: str) -> bool:
    return REQUIREMENTS[id_].divergence is not None


def page(old: str) -> str:
    """Return the page with the table in its place."""
    head, rest = old.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    text = PAGE.read_text()
    if "--check" in sys.argv and text != page(text):
        sys.exit(
            "docs/api.md does not fit tests/conformance/requirements.py: write it again with"
            " `cd tests && python -m conformance.compatibility`"
        )
    PAGE.write_text(page(text))
