"""The stages of a start, and how long each took.

Rule: a stage ends when the next one begins. A stage may come twice, for an engine loads weights
before and after it compiles kernels; its times are added up.
"""

import time
from collections.abc import Callable
from enum import StrEnum


class Stage(StrEnum):
    """What a server does until it is ready, in the usual order."""

    MODEL = "model"
    """The embedded model is converted, or found."""
    ENGINE = "engine"
    """The engine's processes start and import their libraries."""
    WEIGHTS = "weights"
    KERNELS = "kernels"
    """The kernels that apply adapters are compiled, or read from their cache."""
    COMPILE = "compile"
    """The model is compiled, and its memory measured."""
    GRAPHS = "graphs"
    """CUDA graphs are captured."""
    WARM_UP = "warm-up"
    """Every kind of request runs once, so that no user waits for its first time."""
    ADAPTERS = "adapters"
    """The adapters in the folders are verified, and the most used ones loaded."""


class Stages:
    """Where a start is. For one event loop."""

    def __init__(
        self,
        on_begin: Callable[[Stage], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_begin`` gets each stage as it begins; ``clock`` is in seconds."""
        self._on_begin = on_begin
        self._clock = clock
        self._began_s = self._since_s = clock()
        self._now: Stage | None = None
        self._took_s: dict[Stage, float] = {}

    @property
    def now(self) -> Stage | None:
        """The stage that is under way; None before the first and after the last."""
        return self._now

    def begin(self, stage: Stage, at_s: float | None = None) -> None:
        """End the stage that is under way and begin ``stage``, at ``at_s`` on the clock."""
        self._end(self._clock() if at_s is None else max(at_s, self._since_s))
        self._now = stage
        self._on_begin(stage)

    def end(self) -> None:
        """End the stage that is under way; there is no further one."""
        self._end(self._clock())

    def took_s(self) -> dict[Stage, float]:
        """Return the seconds of every stage so far, in the order in which they began."""
        found = dict(self._took_s)
        if self._now is not None:
            found[self._now] = found.get(self._now, 0.0) + self._clock() - self._since_s
        return found

    def total_s(self) -> float:
        """Return the seconds since the start began."""
        return self._clock() - self._began_s

    def _end(self, at_s: float) -> None:
        if self._now is not None:
            self._took_s[self._now] = self._took_s.get(self._now, 0.0) + at_s - self._since_s
        self._now, self._since_s = None, at_s
