"""Writes docs/clients.md from the table of clients and the outcomes of a real run.

``python -m clients.matrix --check`` (in tests/) says whether the page fits both; it needs nothing
installed. ``make clients CLIENTS=--write`` runs all clients and writes both.
"""

import json
import sys
from pathlib import Path
from typing import Any

from clients.table import CLIENTS, FEATURES, SUITE_DIVERGENCES, Client

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "clients.md"
Results = dict[str, dict[str, Any]]
HEAD = """# Clients

These libraries, unmodified, are run against this server with the real engine, the embedded model
and two adapters: `make clients` does it, in the versions that `requirements/clients.txt`,
`requirements/clients-earlier.txt` and `tests/clients/package-lock.json` pin. This page is made from
what was recorded last. `make clients CLIENTS=--write` records again.

- yes: it works
- a number: it does not work, for the reason under that number
- `-`: the client has no such thing
- not run: no run of it is recorded yet

"""


def page() -> str:
    """Return the page for the table and the recorded outcomes."""
    results: Results = json.loads(RESULTS.read_text())
    reasons: list[str] = []
    lines = [_row("client", "version", *FEATURES), "|---" * (len(FEATURES) + 2) + "|"]
    for name, client in CLIENTS.items():
        cells = [_cell(client, feature, results.get(name, {}), reasons) for feature in FEATURES]
        of = results.get(name, {})
        version = f"`{of['package']}` {of['version']}" if of else "not run"
        lines.append(_row(name, version, *cells))
    text = HEAD + "\n".join(lines) + "\n"
    if reasons:
        text += "\n## What does not work\n\n"
        text += "".join(f"{n}. {reason}.\n" for n, reason in enumerate(reasons, 1))
    return text + _suites(results.get("suites", {})) + _meanings() + _absent()


def record(seen: Results) -> None:
    """Write what a run has seen over what is recorded, and the page."""
    old: Results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    suites = {**old.get("suites", {}), **seen.pop("suites", {})}
    for name, of in seen.items():
        known = old.get(name, {}).get("features", {})
        old[name] = {**of, "features": {**known, **of["features"]}}
    kept = {name: old[name] for name in CLIENTS if name in old} | {"suites": suites}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page())


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(client: Client, feature: str, result: dict[str, Any], reasons: list[str]) -> str:
    if feature in client.without:
        return "-"
    outcome = result.get("features", {}).get(feature)
    if outcome is None:
        return "not run"
    if outcome == "ok":
        return "yes"
    why = client.divergence.get(feature, "not explained")
    if why not in reasons:
        reasons.append(why)
    return str(reasons.index(why) + 1)


def _suites(suites: dict[str, dict[str, str]]) -> str:
    lines = ["\n## Suites of others\n", "| suite | checks | passed | not passed |"]
    lines.append("|---|---|---|---|")
    for name, verdicts in suites.items():
        why = SUITE_DIVERGENCES.get(name, {})
        wrong = [check for check, verdict in verdicts.items() if verdict != "passed"]
        told = "; ".join(f"`{check}`: {why.get(check, 'not explained')}" for check in wrong)
        passed = len(verdicts) - len(wrong)
        lines.append(_row(name, str(len(verdicts)), str(passed), told or "-"))
    return "\n".join(lines) + "\n"


def _meanings() -> str:
    lines = ["\n## What is done\n", "| column | the client |", "|---|---|"]
    return "\n".join([*lines, *(_row(f"`{name}`", said) for name, said in FEATURES.items())]) + "\n"


def _absent() -> str:
    lines = ["\n## What a client does not have\n", "| client | column | why |", "|---|---|---|"]
    for name, client in CLIENTS.items():
        reasons: dict[str, list[str]] = {}
        for feature, why in client.without.items():
            reasons.setdefault(why, []).append(f"`{feature}`")
        lines += [_row(name, ", ".join(columns), why) for why, columns in reasons.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv and PAGE.read_text() != page():
        sys.exit("docs/clients.md does not fit tests/clients; write it again: see its first lines")
    if "--check" not in sys.argv:
        PAGE.write_text(page())
