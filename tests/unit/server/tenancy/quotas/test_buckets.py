"""Buckets fill without pause, hold a minute's worth, and never round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_server.settings import MOST
from veneer_server.tenancy.quotas.buckets import (
    RETRY_US,
    UNITS,
    Bucket,
    Standing,
    filled,
    stand,
    stand_at_once,
    take,
)


def test_a_bucket_that_nobody_used_is_full() -> None:
    assert stand(filled(None, 60, 5), 60, 60) == Standing(60, 0, 0)


@pytest.mark.parametrize(
    ("passed_us", "remaining", "wait_us"),
    [(0, 0, 1_000_000), (1, 0, 999_999), (999_999, 0, 1), (1_000_000, 1, 0), (10**9, 60, 0)],
)
def test_an_empty_bucket_of_sixty_a_minute_has_one_after_a_second(
    passed_us: int, remaining: int, wait_us: int
) -> None:
    bucket = take(filled(None, 60, 0), 60, 60)
    found = stand(filled(bucket, 60, passed_us), 60, 1)
    assert (found.remaining, found.wait_us) == (remaining, wait_us)


def test_what_was_used_beyond_what_was_taken_is_paid_back_first() -> None:
    owing = take(filled(None, 60, 0), 60, 90)
    assert stand(owing, 60, 1) == Standing(0, 90_000_000, 31_000_000)
    assert stand(filled(owing, 60, 31_000_000), 60, 1).wait_us == 0


def test_to_give_back_never_makes_more_than_full() -> None:
    assert take(filled(None, 60, 0), 60, -5) == Bucket(60 * UNITS, 0)


def test_a_clock_that_is_set_back_takes_nothing_and_gives_nothing() -> None:
    bucket = take(filled(None, 60, 1000), 60, 10)
    assert filled(bucket, 60, 5).units == bucket.units


@given(limit=st.integers(1, MOST), steps=st.lists(st.tuples(st.integers(0, 10**8), st.booleans())))
def test_nobody_gets_more_than_a_full_bucket_and_what_flows_in(
    limit: int, steps: list[tuple[int, bool]]
) -> None:
    now_us, bucket, got = 0, None, 0
    cost = max(limit // 3, 1)
    for passed_us, half in steps:
        now_us += passed_us
        found = filled(bucket, limit, now_us)
        asked = max(cost // 2, 1) if half else cost
        if stand(found, limit, asked).wait_us == 0:
            found, got = take(found, limit, asked), got + asked
        bucket = found
        assert got * UNITS <= limit * UNITS + now_us * limit


@given(limit=st.integers(1, MOST), taken=st.integers(0, 2 * MOST), cost=st.integers(1, MOST))
def test_to_wait_as_long_as_was_said_is_enough_and_a_microsecond_less_is_not(
    limit: int, taken: int, cost: int
) -> None:
    cost = min(cost, limit)
    bucket = take(filled(None, limit, 0), limit, taken)
    wait_us = stand(bucket, limit, cost).wait_us
    assert stand(filled(bucket, limit, wait_us), limit, cost).wait_us == 0
    if wait_us:
        assert stand(filled(bucket, limit, wait_us - 1), limit, cost).wait_us == 1


def test_a_place_among_those_at_the_same_time_is_there_or_is_not() -> None:
    assert stand_at_once(1, 2, 1) == Standing(1, 0, 0)
    assert stand_at_once(2, 2, 1) == Standing(0, 0, RETRY_US)
