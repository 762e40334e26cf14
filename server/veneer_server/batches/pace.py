"""How many lines of batches may be answered at the same time beside live traffic. Pure.

Additive increase, multiplicative decrease, as TCP does it: one more each second while there is
room, half as many at each look while there is none. While a live request is answered there is room
for few lines, because each makes every step of the engine longer; while one waits, for one. At
least one line always goes on, so no batch stands still for ever.

Source: Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
Computer Networks", 1989.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FLOOR = 1.0
_PER_S = 1.0


@dataclass(frozen=True, slots=True)
class Live:
    """The live sequences of a moment: all that are no work in the background."""

    waiting: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """How many lines may be answered at a time at most."""

    alone: int
    beside: int
    """While a live request is answered; not more than ``alone``."""

    def for_lines(self, live: Live) -> float:
        """Return how many lines there is room for now."""
        if live.waiting:
            return FLOOR
        return max(self.beside if live.running else self.alone, FLOOR)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many lines may be answered at a time, and since when."""

    lines: float = FLOOR
    at_s: float = 0.0

    @property
    def allowed(self) -> int:
        """Whole lines."""
        return int(self.lines)


def paced(pace: Pace, *, now_s: float, live: Live, room: Room) -> Pace:
    """Return the pace from now on."""
    most = room.for_lines(live)
    if pace.lines > most:
        return Pace(max(pace.lines / 2, most), now_s)
    return Pace(min(pace.lines + (now_s - pace.at_s) * _PER_S, most), now_s)


def next_holder(waiting: Sequence[str], running: Mapping[str, int]) -> str | None:
    """Return the batch that may begin a line: of those ``waiting`` the one with fewest running.

    ``waiting`` is in the order in which they began to wait, and so decides between equals.
    """
    return min(waiting, key=lambda batch: running.get(batch, 0), default=None)
