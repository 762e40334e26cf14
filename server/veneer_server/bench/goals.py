"""The goals, and the verdict on each: figures in, rows out.

Rule 1: every goal stands in ``GOALS``, with its threshold; nothing else knows a threshold.
Rule 2: this file measures nothing. A figure is what a measurement returned for a peer.
"""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from veneer_server.bench.peers import Name

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


def chosen(ids: Collection[str], rank: int) -> list[Goal]:
    """Return the goals named in ``ids``, or all, whose thresholds are meant for ``rank``."""
    return [goal for goal in GOALS if (not ids or goal.id in ids) and goal.rank in (None, rank)]


def _ours(figure: str, name: Name = Name.VENEER) -> tuple[Name, str]:
    return (name, figure)


_G3 = {
    8: {1: (0.90, 0.98), 8: (0.75, 0.87), 32: (0.50, 0.63)},
    16: {1: (0.88, 0.965), 8: (0.65, 0.775), 32: (0.40, 0.46)},
}
"""By rank and number of adapters: the threshold, and what memory bandwidth allows."""

GOALS: tuple[Goal, ...] = (
    Goal(
        "G1",
        "prefill: time to first token of 512 tokens with an adapter, ours / vLLM default",
        _ours("ttft ms"),
        (Name.DEFAULT, "ttft ms"),
        True,
        0.25,
        0.10,
    ),
    Goal(
        "G2",
        "8 adapters mixed, tok/s, ours / vLLM default",
        _ours("8 adapters tok/s"),
        (Name.DEFAULT, "8 adapters tok/s"),
        False,
        3,
        5,
    ),
    Goal(
        "G2",
        "8 adapters mixed, tok/s, ours / vLLM tuned",
        _ours("8 adapters tok/s"),
        (Name.TUNED, "8 adapters tok/s"),
        False,
        2,
        3,
    ),
    *(
        Goal(
            "G3",
            f"{count} adapter{'s' * (count > 1)} over the base alone, tok/s, ours",
            _ours(f"{count} adapters tok/s"),
            _ours("base tok/s"),
            False,
            *wanted,
            rank=rank,
        )
        for rank, counts in _G3.items()
        for count, wanted in counts.items()
    ),
    Goal(
        "G4",
        "the base with adapters enabled, tok/s, ours / vLLM without LoRA",
        _ours("base tok/s"),
        (Name.PLAIN, "base tok/s"),
        False,
        0.95,
        1.0,
    ),
    Goal(
        "G5",
        "hot load: first token cold minus warm, ours, ms",
        _ours("cold minus warm ms"),
        None,
        True,
        30,
        15,
    ),
    Goal(
        "G5",
        "one load by API call, ours / vLLM default",
        _ours("load call ms"),
        (Name.DEFAULT, "load call ms"),
        True,
        0.5,
        0.3,
    ),
    Goal(
        "G5",
        "registering 1000 adapters, ours / vLLM default",
        _ours("registering s"),
        (Name.DEFAULT, "registering s"),
        True,
        0.05,
        0.01,
    ),
    Goal(
        "G6",
        "longest stall of 8 streams during 50 loads of rank 64, ours / vLLM default",
        _ours("stall ms", Name.VENEER_64),
        (Name.DEFAULT_64, "stall ms"),
        True,
        0.25,
        0.05,
    ),
    Goal(
        "G7",
        "1000 adapters registered over 64, the same 64 in use, tok/s, ours",
        _ours("1000 registered tok/s", Name.VENEER_WIDE),
        _ours("64 registered tok/s", Name.VENEER_WIDE),
        False,
        0.90,
        0.95,
    ),
    Goal(
        "G8",
        "one cold request at saturation, one slot: first token / longest service, ours",
        _ours("cold ttft s", Name.VENEER_ONE),
        _ours("service s", Name.VENEER_ONE),
        True,
        2,
        1,
    ),
    Goal(
        "G9",
        "answers of mixed batches equal to those given alone, fp32, ours, share",
        _ours("equal", Name.VENEER_FP32),
        None,
        False,
        1.0,
    ),
    Goal(
        "G10",
        "API process: CPU per streamed token, ours / vLLM without LoRA",
        _ours("api us/token"),
        (Name.PLAIN, "api us/token"),
        True,
        1.0,
        0.6,
    ),
    Goal(
        "G11",
        "start to ready, ours / vLLM default",
        _ours("start s"),
        (Name.DEFAULT, "start s"),
        True,
        1.0,
        0.5,
        skip_first=True,
    ),
    Goal(
        "G11",
        "start to ready, ours / vLLM without LoRA",
        _ours("start s"),
        (Name.PLAIN, "start s"),
        True,
        1.0,
        0.5,
        skip_first=True,
    ),
    *(
        goal
        for name in (Name.LLAMA_Q4, Name.LLAMA_BF16)
        for goal in (
            Goal(
                "G12",
                f"one stream, 100 in 64 out, seconds, ours / {name}",
                _ours("one stream s"),
                (name, "one stream s"),
                True,
                1.5,
                1.0,
            ),
            Goal(
                "G12",
                f"16 streams, tok/s, ours / {name}",
                _ours("16 streams tok/s"),
                (name, "16 streams tok/s"),
                False,
                1.5,
                3,
            ),
            Goal(
                "G12",
                f"16 streams over 8 adapters, tok/s, ours / {name}",
                _ours("16 streams, 8 adapters tok/s"),
                (name, "16 streams, 8 adapters tok/s"),
                False,
                4,
                10,
            ),
        )
    ),
)
