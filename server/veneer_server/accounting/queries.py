"""What somebody asks of the usage: which time, which requests, in which groups. Pure."""

import itertools
from dataclasses import dataclass, replace
from enum import StrEnum

MOST_ROWS = 20_000
"""Most results of one page; a question with more must be narrower."""


class Group(StrEnum):
    """What sums can be told apart by; each is a column."""

    TENANT = "tenant"
    KEY = "key"
    ADAPTER = "adapter"
    REVISION = "revision"
    ENDPOINT = "endpoint"
    OUTCOME = "outcome"
    FALLBACK_FOR = "fallback_for"


@dataclass(frozen=True, slots=True)
class Width:
    """How long the buckets of an answer are, and how many an answer has."""

    seconds: int
    usual: int
    most: int


WIDTHS = {"1m": Width(60, 60, 1440), "1h": Width(3600, 24, 168), "1d": Width(86400, 7, 31)}
"""Source: https://platform.openai.com/docs/api-reference/usage/completions"""


@dataclass(frozen=True, slots=True)
class Question:
    """Sums over the requests that ended from ``begin`` until before ``end``."""

    begin: int
    end: int
    """Both in seconds since the epoch."""
    width_s: int
    groups: tuple[Group, ...] = ()
    only: tuple[tuple[Group, tuple[str, ...]], ...] = ()
    """Only requests with one of these values."""

    def within(self, tenant: str | None) -> "Question":
        """Return the same question about requests of ``tenant`` alone; None means no bound."""
        if tenant is None:
            return self
        return replace(self, only=(*self.only, (Group.TENANT, (tenant,))))


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of one group in one bucket."""

    bucket: int
    """When the bucket begins, in seconds since the epoch."""
    group: dict[str, str | int | None]
    """The value of each column that was asked for."""
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    queue_s: float
    cold_start_s: float
    total_s: float


def buckets(begin: int, end: int, width_s: int) -> list[tuple[int, int]]:
    """Return the begin and end of each bucket; the first and the last may be shorter."""
    edges = [begin, *range((begin // width_s + 1) * width_s, end, width_s), end]
    return list(itertools.pairwise(edges))
