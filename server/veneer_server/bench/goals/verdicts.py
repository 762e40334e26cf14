"""From figures to verdicts, in pure functions.

A figure is a number that a measurement returned for a peer. A row is the result of a goal.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from veneer_server.bench.peers.peers import Name

Figures = Mapping[str, float]
"""The figures of one measurement, by name."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio of two figures, or one figure, and the value that it should have."""

    id: str
    sentence: str
    figure: tuple[Name, str]
    over: tuple[Name, str] | None
    at_most: bool
    threshold: float
    stretch: float | None = None
    skip_first: bool = False
    """Whether the first round does not count, because files and compilers' caches are cold then."""

    @property
    def wanted(self) -> str:
        """Return the threshold as the table shows it."""
        return f"{'<=' if self.at_most else '>='} {self.threshold:g}"

    def is_met(self, value: float, threshold: float | None) -> bool:
        """Return whether ``value`` is on the good side of ``threshold``."""
        if threshold is None:
            return False
        return value <= threshold if self.at_most else value >= threshold


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one goal."""

    goal: Goal
    values: tuple[float, ...]
    """One value for each round, in the order of the rounds."""
    why_not: str | None = None
    """Why there are no values; None when there are some."""

    @property
    def median(self) -> float:
        """Return the median of the values."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Return ``met``, ``met (stretch)``, ``MISSED`` or ``not measured``."""
        if not self.values:
            return "not measured"
        if self.goal.is_met(self.median, self.goal.stretch):
            return "met (stretch)"
        return "met" if self.goal.is_met(self.median, self.goal.threshold) else "MISSED"


@dataclass(slots=True)
class Found:
    """All figures so far, by peer, name and round."""

    by_round: dict[tuple[Name, str], dict[int, list[float]]] = field(default_factory=dict)

    def add(self, peer: Name, turn: int, figures: Figures) -> None:
        """Add ``figures`` of ``peer`` in round ``turn``; earlier ones of the round stay."""
        for name, value in figures.items():
            self.by_round.setdefault((peer, name), {}).setdefault(turn, []).append(value)

    def values(self, goal: Goal) -> tuple[float, ...]:
        """Return one value for each round that has all figures of ``goal``."""
        above = self.by_round.get(goal.figure, {})
        below = self.by_round.get(goal.over, {}) if goal.over else None
        turns = [turn for turn in sorted(above) if below is None or turn in below]
        if goal.skip_first:
            turns = [turn for turn in turns if turn > 0]
        return tuple(
            _value(above[turn], below[turn] if below is not None else None) for turn in turns
        )


def _value(above: Sequence[float], below: Sequence[float] | None) -> float:
    if below is None:
        return statistics.median(above)
    divisor = statistics.median(below)
    return statistics.median(above) / divisor if divisor else float("inf")


def rows(
    found: Found, goals: Iterable[Goal], absent: Mapping[tuple[Name, str], str], default: str
) -> list[Row]:
    """Return a row for each goal.

    ``absent`` says why a peer has no figure for a goal; elsewhere the reason is ``default``.
    """
    made = []
    for goal in goals:
        values = found.values(goal)
        peers = [goal.figure[0], *([goal.over[0]] if goal.over else [])]
        reasons = (absent.get((peer, goal.id)) for peer in peers)
        why_not = next((reason for reason in reasons if reason), default)
        made.append(Row(goal, values, None if values else why_not))
    return made
