"""Check that held-out rows share no value, function or sentence frame with training rows."""

import re
from collections.abc import Iterator
from typing import Any

from conversations import Row


class Overlap(Exception):
    """A held-out row shares something with training, so its score would prove nothing."""


def values(expected: Any) -> Iterator[str]:
    """Yield the strings and numbers in ``expected``: an expected answer, or a topic."""
    if isinstance(expected, dict):
        for value in expected.values():
            yield from values(value)
    elif isinstance(expected, str | int | float) and not isinstance(expected, bool):
        yield str(expected)


def question(row: Row) -> str:
    """Return what the user last said in ``row``."""
    said: str = [m["content"] for m in row["messages"] if m["role"] == "user"][-1]
    return said


def frame(row: Row) -> re.Pattern[str]:
    """Return a pattern that matches the question with any other values in it."""
    wanted = sorted(values(asked(row)), key=len, reverse=True)
    pattern = re.escape(question(row))
    for value in wanted:
        pattern = re.sub(re.escape(re.escape(value)), ".+", pattern, flags=re.IGNORECASE)
    return re.compile(pattern, re.IGNORECASE)


def asked(row: Row) -> Any:
    """Return the part of a question that varies: the arguments, the facts or the topic."""
    expected = row.get("expected")
    if isinstance(expected, dict):
        return expected.get("arguments", expected)
    return row.get("topic")


def functions(rows: list[Row]) -> set[str]:
    """Return the names of all functions that ``rows`` offer."""
    return {tool["function"]["name"] for row in rows for tool in row.get("tools", ())}


def check(heldout: list[Row], training: list[Row]) -> None:
    """Return if the two share nothing; else raise Overlap, which names what they share."""
    shared = functions(heldout) & functions(training)
    if shared:
        raise Overlap(f"Training has these functions too: {', '.join(sorted(shared))}.")
    questions = [question(row) for row in training if row["messages"][0]["role"] == "user"]
    everything = "\n".join(questions).lower()
    for row in heldout:
        _check_values(row, everything)
        pattern = frame(row)
        for known in questions:
            if pattern.fullmatch(known):
                raise Overlap(f"Training has the frame of {question(row)!r} too: {known!r}.")


def _check_values(row: Row, everything: str) -> None:
    facts = list(values(asked(row)))
    for value in facts + _parts_of_name(row):
        if re.fullmatch(r"[\d.]+", value):  # The same number may occur anywhere.
            continue
        if re.search(rf"\b{re.escape(value.lower())}\b", everything):
            raise Overlap(f"Training has {value!r} of {question(row)!r} too.")


def _parts_of_name(row: Row) -> list[str]:
    expected = row.get("expected")
    name = expected.get("name", "") if isinstance(expected, dict) else ""
    return [part for part in name.split() if part[0].isupper()]
