"""Write docs/members.md from the tables of members, or see whether it fits them.

python scripts/members.py             write it
python scripts/members.py --check     change nothing
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from veneer_server.api.official.members.base import Kind, Table
from veneer_server.api.official.members.tables import TABLES

PAGE = Path(__file__).parent.parent / "docs" / "members.md"
HEAD = """# Members of a request

`make docs` writes this page from the tables in `server/veneer_server/api/official/members/`, and the tests hold the tables to the schemas of OpenAI and Anthropic and to vLLM's requests. [API](api.md) says what the endpoints do; [ADR 0023](adr/0023-every-member-has-a-place.md) says why.

What becomes of a member:

- **honoured**: the engine does what it says.
- **translated**: it means something that has another name here, and is taken as that.
- **ignored**: it changes no answer here, so nothing is lost. The server takes it and drops it.
- **refused**: the answer would not be the one that was asked for. The server answers 400 `unsupported_parameter`, and `param` names the member. A value that asks for nothing, such as `false`, passes.

A member that is `null` is as good as absent. The server refuses a member that no table names with `Unrecognized request argument supplied: '...'`, unless it asks for nothing: an empty text, list or object.
"""  # noqa: E501
TITLES = {
    "chat": "POST /v1/chat/completions",
    "completions": "POST /v1/completions",
    "responses": "POST /v1/responses",
    "messages": "POST /v1/messages",
    "count_tokens": "POST /v1/messages/count_tokens",
    "tokenize": "POST /tokenize",
    "detokenize": "POST /detokenize",
}


def page() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *(line for e, table in TABLES.items() for line in section(e, table))])


def section(endpoint: str, table: Table) -> Iterator[str]:
    """Yield the lines about one endpoint."""
    yield from (f"## {TITLES[endpoint]}", "")
    yield f"Honoured: {_named(n for n, m in table.items() if m.kind is Kind.HONOURED)}."
    yield from ("", "| members | what becomes of them | |", "|---|---|---|")
    for kind in (Kind.TRANSLATED, Kind.IGNORED, Kind.REFUSED):
        notes = dict.fromkeys(m.note for m in table.values() if m.kind is kind)
        for note in notes:
            names = (n for n, m in table.items() if (m.kind, m.note) == (kind, note))
            yield f"| {_named(names)} | {kind} | {note} |"
    yield ""


def _named(names: Iterator[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def main() -> None:
    """Write the page, or check it."""
    text = page()
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return
    if "--check" in sys.argv:
        sys.exit(f"{PAGE.name} is out of date. Run 'make docs'.")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
