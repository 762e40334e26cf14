"""The hours of a day in which a trainer may compute."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time


def local_time() -> time:
    """Return the time of the day where the server runs."""
    return datetime.now().astimezone().time()


@dataclass(frozen=True, slots=True)
class Hours:
    """From ``begin`` until just before ``end``, maybe past midnight; all day if they are equal."""

    begin: time
    end: time
    now: Callable[[], time] = local_time

    @classmethod
    def parse(cls, text: str | None) -> "Hours":
        """Return the hours of a text like ``22:00-06:00``; None means all day."""
        begin, _, end = (text or "00:00-00:00").partition("-")
        return cls(time.fromisoformat(begin), time.fromisoformat(end))

    def is_open(self) -> bool:
        """Return whether it is one of these hours."""
        now = self.now()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def __str__(self) -> str:
        return f"from {self.begin:%H:%M} to {self.end:%H:%M}"
