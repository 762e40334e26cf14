"""Whether a canary does worse than the baseline, and in what. No I/O, no clock.

Two shares are compared: failures among all requests, and broken answers among those that had a
schema to keep. So a side that is asked for structure more often is not worse for that, and what
affects both sides alike cancels out.
"""

from dataclasses import dataclass
from enum import StrEnum

from veneer_adapters.catalog.alias import Guard
from veneer_adapters.events import Reason


class Ending(StrEnum):
    """How a request ended. One that the client broke off or got wrong does not count."""

    ANSWERED = "answered"
    """A whole answer; no structure was asked for, or nobody can tell whether it is kept."""
    KEPT = "kept"
    """A whole answer in the structure that was asked for."""
    BROKEN = "broken"
    """An answer that is not in the structure that was asked for."""
    FAILED = "failed"
    """An error that is not the fault of the client."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How the requests of one revision ended."""

    requests: int = 0
    failed: int = 0
    structured: int = 0
    """Answers that should have a structure and could be judged."""
    broken: int = 0

    def plus(self, ending: Ending) -> "Tally":
        """Return the tally with one more request."""
        return Tally(
            self.requests + 1,
            self.failed + (ending is Ending.FAILED),
            self.structured + (ending in (Ending.KEPT, Ending.BROKEN)),
            self.broken + (ending is Ending.BROKEN),
        )


def verdict(guard: Guard, baseline: Tally, canary: Tally) -> Reason | None:
    """Return in what ``canary`` is worse by more than the margin, or None while it is not.

    There is no verdict on a share before both sides have ``min_requests`` of the requests it is
    about.
    """
    if _is_worse(guard, (baseline.failed, baseline.requests), (canary.failed, canary.requests)):
        return "errors"
    if _is_worse(guard, (baseline.broken, baseline.structured), (canary.broken, canary.structured)):
        return "schema"
    return None


def _is_worse(guard: Guard, baseline: tuple[int, int], canary: tuple[int, int]) -> bool:
    (bad, of), (bad_here, of_here) = baseline, canary
    if min(of, of_here) < guard.min_requests:
        return False
    # No division, because 0.55 - 0.5 is more than 0.05 in floating point.
    return bad_here * of - bad * of_here > guard.margin * of * of_here
