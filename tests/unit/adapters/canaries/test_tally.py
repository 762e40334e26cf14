"""When a canary is worse than its baseline, for certain and not by chance of few requests."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from veneer_adapters.canaries.tally import Ending, Tally, verdict
from veneer_adapters.catalog.alias import Guard

MARGINS = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
GUARDS = st.builds(Guard, st.integers(1, 50), MARGINS)


@st.composite
def tallies(draw: st.DrawFn, least: int = 0, most: int = 200) -> Tally:
    requests = draw(st.integers(least, most))
    failed = draw(st.integers(0, requests))
    structured = draw(st.integers(0, requests - failed))
    return Tally(requests, failed, structured, draw(st.integers(0, structured)))


def share(part: int, of: int) -> Fraction:
    return Fraction(part, of) if of else Fraction(0)


@pytest.mark.slow
@given(guard=GUARDS, baseline=tallies(), canary=tallies())
def test_there_is_no_verdict_before_both_sides_have_enough_requests(
    guard: Guard, baseline: Tally, canary: Tally
) -> None:
    assume(min(baseline.requests, canary.requests) < guard.min_requests)
    assert verdict(guard, baseline, canary) is None


@given(guard=GUARDS, baseline=tallies(), canary=tallies())
def test_answers_are_compared_only_when_both_sides_had_enough_to_keep_a_structure(
    guard: Guard, baseline: Tally, canary: Tally
) -> None:
    assume(min(baseline.structured, canary.structured) < guard.min_requests)
    assert verdict(guard, baseline, canary) != "schema"


@given(guard=GUARDS, baseline=tallies(), canary=tallies())
def test_a_canary_that_is_no_worse_stays(guard: Guard, baseline: Tally, canary: Tally) -> None:
    assume(share(canary.failed, canary.requests) <= share(baseline.failed, baseline.requests))
    assume(share(canary.broken, canary.structured) <= share(baseline.broken, baseline.structured))
    assert verdict(guard, baseline, canary) is None


@given(guard=GUARDS, tally=tallies())
def test_what_hits_both_sides_alike_is_nobodys_fault(guard: Guard, tally: Tally) -> None:
    assert verdict(guard, tally, tally) is None


@given(guard=GUARDS, baseline=tallies(least=50), canary=tallies(least=50))
def test_a_canary_that_fails_more_often_by_more_than_the_margin_goes(
    guard: Guard, baseline: Tally, canary: Tally
) -> None:
    worse = share(canary.failed, canary.requests) - share(baseline.failed, baseline.requests)
    assume(abs(worse - Fraction(guard.margin)) > Fraction(1, 10**9))
    assert (verdict(guard, baseline, canary) == "errors") == (worse > Fraction(guard.margin))


@given(guard=GUARDS, more=st.integers(0, 100))
def test_a_canary_that_breaks_every_structure_goes_when_the_baseline_keeps_all(
    guard: Guard, more: int
) -> None:
    assume(guard.margin < 1)
    enough = guard.min_requests + more
    baseline, canary = Tally(enough, 0, enough, 0), Tally(enough, 0, enough, enough)
    assert verdict(guard, baseline, canary) == "schema"


@pytest.mark.parametrize("percent", range(96))
def test_exactly_the_margin_is_not_more_than_it(percent: int) -> None:
    guard = Guard(100, 0.05)
    assert verdict(guard, Tally(100, percent), Tally(100, percent + 5)) is None
    if percent < 95:
        assert verdict(guard, Tally(100, percent), Tally(100, percent + 6)) == "errors"


def test_being_asked_for_structure_more_often_is_not_being_worse() -> None:
    seldom, often = Tally(100, 0, 10, 1), Tally(100, 0, 100, 10)
    assert verdict(Guard(10, 0.01), seldom, often) is None


def test_each_ending_counts_where_it_belongs() -> None:
    tally = Tally()
    for ending in Ending:
        tally = tally.plus(ending)
    assert tally == Tally(requests=4, failed=1, structured=2, broken=1)
