"""When an engine counts as hung, and when it is started again. Pure: no clock, no process.

Rule 1: an engine hangs when it does not answer a ping, or produces nothing while it has work.
Rule 2: an engine that keeps dying, or does not start, is not started for ever; somebody has to
look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_PINGS = 4
"""How many pings fit into the silence that counts as a hang."""


class Pulse:
    """Signs of life of one engine, in seconds of one clock."""

    def __init__(self, stall_timeout_s: float, now_s: float) -> None:
        """Begin at ``now_s``; silence for longer than ``stall_timeout_s`` is a hang."""
        self._stall_timeout_s = stall_timeout_s
        self._answered_s = now_s
        self._moved_s = now_s
        self._outputs = 0

    def answered(self, now_s: float) -> None:
        """Note that the engine answered a ping."""
        self._answered_s = now_s

    def saw(self, *, outputs: int, unfinished: int, now_s: float) -> None:
        """Note how many outputs there have been, and how many requests have not ended."""
        if outputs != self._outputs:
            self._answered_s = now_s
        if outputs != self._outputs or not unfinished:
            self._moved_s = now_s
        self._outputs = outputs

    def needs_ping(self, now_s: float) -> bool:
        """Return whether it is time to ask: an engine that sends outputs needs no ping.

        On a CPU a worker spins for a second after each message, so pings must be rare.
        """
        return now_s - self._answered_s >= self._stall_timeout_s / _PINGS

    def is_hung(self, now_s: float) -> bool:
        """Return whether the engine has been silent for too long."""
        return now_s - min(self._answered_s, self._moved_s) > self._stall_timeout_s


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before the next start, and when to give up."""

    first_delay_s: float = 1.0
    longest_delay_s: float = 60.0
    most: int = 5
    """Restarts within ``within_s``; one more death is a crash loop."""
    within_s: float = 600.0

    def delay_s(
        self, deaths_s: Sequence[float], now_s: float, *, failed_starts: int = 0
    ) -> float | None:
        """Return how long to wait after the last of ``deaths_s``, or None to give up.

        ``deaths_s`` are the times of all deaths so far, failed starts among them. The last
        ``failed_starts`` of them have no engine that served between them. They count however long
        ago they were, because a start may take longer than ``within_s``.
        """
        recent = self._recent(deaths_s, now_s)
        if recent > self.most or failed_starts >= self.most:
            return None
        counted = max(recent, failed_starts + 1)
        return min(self.first_delay_s * 2.0 ** (counted - 1), self.longest_delay_s)

    def why_given_up(self, deaths_s: Sequence[float], now_s: float) -> str:
        """Return the sentence for the operator, when ``delay_s`` returns None."""
        if self._recent(deaths_s, now_s) <= self.most:
            return f"The engine did not start {self.most} times in a row; the log says why."
        return (
            f"The engine died {self.most + 1} times within {self.within_s:g} s; the log says why."
        )

    def _recent(self, deaths_s: Sequence[float], now_s: float) -> int:
        return sum(now_s - death_s <= self.within_s for death_s in deaths_s)
