"""What the clients wrote down, and what the server wrote down. Times are monotonic seconds."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a client does."""

    PLAIN = "plain"
    STREAM = "stream"
    LEAVE = "leave"
    """Leaves in the middle of a stream."""
    UNKNOWN = "unknown"
    INVALID = "invalid"


class End(StrEnum):
    """How a request ended for its client."""

    COMPLETED = "completed"
    ERROR = "error"
    """An error document, or an error event as the last one."""
    LEFT = "left"
    CUT = "cut"
    """The connection broke, and nobody said why."""
    UNANSWERED = "unanswered"
    """Nobody listened."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One request of one client."""

    request_id: str
    kind: Kind
    model: str
    prompt: str
    sent_s: float
    begun_s: float
    """When the head of the answer was there."""
    ended_s: float
    end: End
    status: int = 0
    code: str | None = None
    served_by: str = ""
    """``x-veneer-adapter``."""
    text: str = ""


@dataclass
class Trouble:
    """A fault that the nemesis made, and when errors of the server are its consequence."""

    name: str
    since_s: float
    until_s: float
    kills_gateway: bool = False
    excuses: bool = True
    """Whether requests may fail meanwhile."""

    def touches(self, record: Record) -> bool:
        """Return whether ``record`` was under way in this trouble."""
        return record.sent_s <= self.until_s and record.ended_s >= self.since_s


@dataclass
class Life:
    """One process of the gateway: its log, and its counters as they were when all was quiet."""

    log: Path
    since_s: float
    killed: bool = False
    completed: float | None = None
    """``veneer_requests_total`` with outcome ``completed``, where it could be read at the end."""
    lines: list[dict[str, object]] = field(default_factory=list)

    def read(self) -> None:
        """Take the lines of requests from the log."""
        for text in self.log.read_text(errors="replace").splitlines():
            if '"event": "request"' in text:
                self.lines.append(json.loads(text))

    def ids(self) -> Counter[str]:
        """Return how often each request was written down."""
        return Counter(str(line["request_id"]) for line in self.lines)


def completed_in(metrics: str) -> float:
    """Return the completed requests that a page of ``/metrics`` counts."""
    pattern = r'^veneer_requests_total\{[^}]*outcome="completed"[^}]*\} (\S+)$'
    return sum(float(value) for value in re.findall(pattern, metrics, re.M))


def tally(records: Iterable[Record]) -> dict[str, int]:
    """Return how many requests of each kind ended how."""
    counts = Counter(f"{r.kind} {r.end} {r.status or ''} {r.code or ''}".strip() for r in records)
    return dict(sorted(counts.items()))
