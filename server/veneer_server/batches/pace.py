"""How many lines of batches may be answered at the same time beside live traffic. Pure.

Additive increase, multiplicative decrease, as TCP does it: one more each second while no live
request waits, half as many when one does. At least one line always goes on, so no batch stands
still for ever. Source: Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for
Congestion Avoidance in Computer Networks", 1989.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FLOOR = 1.0
_PER_S = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How many lines may be answered at a time, and since when."""

    lines: float = FLOOR
    at_s: float = 0.0

    @property
    def allowed(self) -> int:
        """Whole lines."""
        return int(self.lines)


def paced(pace: Pace, *, now_s: float, live_waiting: int, most: int) -> Pace:
    """Return the pace from now on; ``live_waiting`` is how many live sequences wait."""
    if live_waiting:
        return Pace(max(pace.lines / 2, FLOOR), now_s)
    grown = pace.lines + (now_s - pace.at_s) * _PER_S
    return Pace(max(min(grown, most), FLOOR), now_s)


def next_holder(waiting: Sequence[str], running: Mapping[str, int]) -> str | None:
    """Return the batch that may begin a line: of those ``waiting`` the one with fewest running.

    ``waiting`` is in the order in which they began to wait, and so decides between equals.
    """
    return min(waiting, key=lambda batch: running.get(batch, 0), default=None)
