"""A bucket that fills without pause, and what may be taken from it now. Pure.

A bucket of a limit per minute holds a whole minute's worth and fills at that rate. It counts in
units of which a request or a token has as many as a minute has microseconds. So in each microsecond
a bucket gains exactly ``limit`` units, and whole numbers never round.

``buckets.lua`` does the same inside of Redis; one set of tests holds both.
"""

from dataclasses import dataclass

UNITS = 60_000_000
"""Units of one request or token; also the microseconds of a minute."""
RETRY_US = 1_000_000
"""When to ask again for a place among those at the same time: nobody knows when one ends."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was in a bucket at some moment."""

    units: int
    """Less than 0 after somebody used more than they took."""
    at_us: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit stands for a request that asks for something."""

    remaining: int
    """Whole requests or tokens that are left, at least 0."""
    full_us: int
    """Microseconds until everything is there again."""
    wait_us: int
    """Microseconds until there is enough for the request; 0 means now."""


def filled(bucket: Bucket | None, limit: int, now_us: int) -> Bucket:
    """Return what is in the bucket now; one that nobody used is full."""
    if bucket is None:
        return Bucket(limit * UNITS, now_us)
    passed_us = max(now_us - bucket.at_us, 0)
    return Bucket(min(bucket.units + passed_us * limit, limit * UNITS), now_us)


def take(bucket: Bucket, limit: int, cost: int) -> Bucket:
    """Return the bucket after ``cost`` was taken; less than 0 gives back, up to full."""
    return Bucket(min(bucket.units - cost * UNITS, limit * UNITS), bucket.at_us)


def stand(bucket: Bucket, limit: int, cost: int) -> Standing:
    """Return how the bucket stands for somebody who asks for ``cost``."""
    return Standing(
        remaining=max(bucket.units, 0) // UNITS,
        full_us=_to_gain(limit * UNITS - bucket.units, limit),
        wait_us=_to_gain(cost * UNITS - bucket.units, limit),
    )


def stand_at_once(running: int, limit: int, cost: int) -> Standing:
    """Return how a limit on what goes on at the same time stands, while so many are running."""
    has_room = running + cost <= limit
    return Standing(max(limit - running, 0), 0, 0 if has_room else RETRY_US)


def _to_gain(units: int, limit: int) -> int:
    return max(-(-units // limit), 0)
