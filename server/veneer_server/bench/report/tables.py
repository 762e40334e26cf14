"""The results as a table for people, as Markdown for the log, and as JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from veneer_server.bench.goals.verdicts import Found, Row

_COLUMNS = ("goal", "what", "median (min-max)", "rounds", "wanted (stretch)", "verdict")
_COLOURS = {"met": "green", "met (stretch)": "green", "MISSED": "red", "not measured": "yellow"}


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of ``row``, one for each column."""
    goal = row.goal
    wanted = goal.wanted if goal.stretch is None else f"{goal.wanted} ({goal.stretch:g})"
    rounds = str(len(row.values) or "")
    return (goal.id, goal.sentence, spread(row.values), rounds, wanted, row.verdict)


def reasons(rows: Sequence[Row]) -> list[str]:
    """Return a line for each reason why goals were not measured."""
    ids: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.why_not:
            ids.setdefault(row.why_not, {})[row.goal.id] = None
    return [f"not measured: {', '.join(which)}: {why}" for why, which in ids.items()]


def spread(values: Sequence[float]) -> str:
    """Return the median with the least and the largest value, or an empty text without values."""
    if not values:
        return ""
    row = sorted(values)
    middle = (row[(len(row) - 1) // 2] + row[len(row) // 2]) / 2
    if len(row) == 1:
        return _number(middle)
    return f"{_number(middle)} ({_number(row[0])}-{_number(row[-1])})"


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )


def table(rows: Sequence[Row]) -> Table:
    """Return ``rows`` as a table for a terminal."""
    shown = Table(*_COLUMNS, title="ratios, measured side by side")
    for row in rows:
        *first, verdict = cells(row)
        shown.add_row(*first, Text(verdict, style=_COLOURS[row.verdict]))
    return shown


def markdown(rows: Sequence[Row], found: Found, conditions: Mapping[str, str]) -> str:
    """Return an entry for ``tests/bench/LOG.md``: conditions, results, and their figures."""
    lines = [f"## {conditions['date']}: goals", ""]
    lines += [f"- {key}: {value}" for key, value in conditions.items() if key != "date"]
    lines += ["", _line(_COLUMNS), _line(["---"] * len(_COLUMNS)).replace(" ", "")]
    lines += [_line(cells(row)) for row in rows]
    lines += ["", *(f"- {reason}" for reason in reasons(rows))]
    lines += ["", _line(("peer", "figure", "median (min-max)")), "|---|---|---|"]
    lines += [_line(cell) for cell in _figures(found)]
    return "\n".join(lines) + "\n"


def _line(words: Sequence[str]) -> str:
    return "| " + " | ".join(word.replace("|", "/") for word in words) + " |"


def _figures(found: Found) -> list[tuple[str, str, str]]:
    return [
        (str(peer), name, spread([value for values in turns.values() for value in values]))
        for (peer, name), turns in sorted(found.by_round.items())
    ]


def to_json(rows: Sequence[Row], found: Found, conditions: Mapping[str, str]) -> str:
    """Return every row, and every figure by round, as JSON; an infinite time is null."""
    document = {
        "conditions": dict(conditions),
        "goals": [_goal(row) for row in rows],
        "figures": [
            {"peer": peer, "figure": name, "rounds": {str(k): _finite(v) for k, v in turns.items()}}
            for (peer, name), turns in sorted(found.by_round.items())
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _goal(row: Row) -> dict[str, Any]:
    goal = row.goal
    return {
        "id": goal.id,
        "sentence": goal.sentence,
        "values": _finite(row.values),
        "wanted": goal.wanted,
        "stretch": goal.stretch,
        "verdict": row.verdict,
        "why_not": row.why_not,
    }


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
