"""Runs an operator's Python grader on answers, in a process that is thrown away."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST_TOLD = 300
_FILE = "<grader>"


@dataclass(frozen=True, slots=True)
class Graded:
    """What a grader says of each answer, or how it failed."""

    scores: tuple[float, ...] = ()
    failed: str | None = None


def grade(source: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Graded:
    """Return the score of each pair (sample, item) by the function ``grade`` of ``source``."""
    try:
        named: dict[str, Any] = {"__name__": "grader"}
        exec(compile(source, _FILE, "exec"), named)  # noqa: S102 - the operator's own file
        return Graded(tuple(_score(named["grade"](dict(s), dict(i))) for s, i in pairs))
    except Exception as error:
        return Graded(failed=_told(error))


def _score(found: object) -> float:
    if not isinstance(found, int | float) or not 0 <= found <= 1:
        raise ValueError(f"the score must be a number from 0 to 1, not {str(found)[:40]!r}")
    return float(found)


def _told(error: Exception) -> str:
    calls = traceback.extract_tb(error.__traceback__)
    lines = [call.lineno for call in calls if call.filename == _FILE]
    place = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{place}: {error}"[:_LONGEST_TOLD]
