"""From figures to verdicts, purely.

A figure is what a measurement returned for a peer; a row is what a goal came to.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from veneer_server.bench.peers.peers import Name

Figures = Mapping[str, float]
"""Name of a figure -> its value, as one measurement returns them."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio of two figures, or one figure, and the value it should have."""

    id: str
    sentence: str
    figure: tuple[Name, str]
    over: tuple[Name, str] | None
    at_most: bool
    threshold: float
    stretch: float | None = None
    rank: int | None = None
    """The only adapter rank the threshold is meant for; None: any."""
    skip_first: bool = False
    """Never count the first round: files and compilers' caches were cold then."""

    @property
    def wanted(self) -> str:
        """The threshold as it is printed."""
        return f"{'<=' if self.at_most else '>='} {self.threshold:g}"

    def is_met(self, value: float, threshold: float | None) -> bool:
        """True when ``value`` is on the good side of ``threshold``."""
        if threshold is None:
            return False
        return value <= threshold if self.at_most else value >= threshold


@dataclass(frozen=True, slots=True)
class Row:
    """What one goal came to."""

    goal: Goal
    values: tuple[float, ...]
    """One per round, in the order of the rounds."""
    why_not: str | None = None
    """Why there are no values."""

    @property
    def median(self) -> float:
        """The middle of the values; of an even number the mean of the two."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """``met``, ``met (stretch)``, ``MISSED`` or ``not measured``."""
        if not self.values:
            return "not measured"
        if self.goal.is_met(self.median, self.goal.stretch):
            return "met (stretch)"
        return "met" if self.goal.is_met(self.median, self.goal.threshold) else "MISSED"


@dataclass(slots=True)
class Found:
    """Every figure so far, by peer, name and round."""

    by_round: dict[tuple[Name, str], dict[int, list[float]]] = field(default_factory=dict)

    def add(self, peer: Name, turn: int, figures: Figures) -> None:
        """Remember ``figures`` of ``peer`` in round ``turn``; a second time adds to them."""
        for name, value in figures.items():
            self.by_round.setdefault((peer, name), {}).setdefault(turn, []).append(value)

    def values(self, goal: Goal) -> tuple[float, ...]:
        """Return one value per round in which everything ``goal`` needs was measured."""
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
    """Return a row for each goal; ``absent`` says why a peer has no figure for one."""
    made = []
    for goal in goals:
        values = found.values(goal)
        peers = [goal.figure[0], *([goal.over[0]] if goal.over else [])]
        reasons = (absent.get((peer, goal.id)) for peer in peers)
        why_not = next((reason for reason in reasons if reason), default)
        made.append(Row(goal, values, None if values else why_not))
    return made
