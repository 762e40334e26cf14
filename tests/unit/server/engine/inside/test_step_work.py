"""A step beside streams is bounded by its work, whatever its prompts are."""

import math

import pytest

from veneer_server.engine.vllm.inside.step_work import (
    ADDED_S,
    ALLOWANCE,
    LEAST,
    StepBounds,
    StepPace,
    StepWork,
    even_position,
)

WORK = StepWork(prompt_tokens=128, tokens=256, even_at=1000.0)


def test_while_nobody_waits_a_step_is_as_large_as_it_may_be() -> None:
    assert WORK.beside(0, [8000, 8000]) == StepBounds(128, 256)
    assert WORK.beside(4, []) == StepBounds(128, 256)


def test_an_operator_who_wants_no_bound_has_none() -> None:
    assert StepWork(0, 256, 1000.0).beside(4, [8000]) == StepBounds(0, 256)


def test_the_beginning_of_a_prompt_is_computed_as_fast_as_without_streams() -> None:
    assert WORK.beside(1, [0]).prompt_tokens == 128
    assert WORK.beside(1, [1000]).prompt_tokens == 128


@pytest.mark.parametrize("positions", [[2000], [8000], [3000, 8000], [0, 500, 9000]])
def test_late_in_long_prompts_a_step_does_no_more_work(positions: list[int]) -> None:
    taken = WORK.beside(1, positions).prompt_tokens
    work = sum(taken * (1 + at / WORK.even_at) for at in positions)
    assert taken < 128
    assert work <= ALLOWANCE * 128 < work + sum(1 + at / WORK.even_at for at in positions)


def test_every_prompt_goes_on_however_long_it_is() -> None:
    assert WORK.beside(1, [10_000_000]).prompt_tokens == LEAST


def test_many_short_prompts_leave_room_in_the_step_and_every_stream_has_its_token() -> None:
    assert WORK.beside(3, [0] * 8).tokens == 192 + 3
    assert WORK.beside(250, [0] * 8).tokens == 256


def test_a_large_model_reaches_the_even_position_later() -> None:
    small = even_position(hidden=576, inner=1536, heads=9, kv_heads=3, head_size=64)
    large = even_position(hidden=4096, inner=14336, heads=32, kv_heads=8, head_size=128)
    assert (round(small), round(large)) == (1536, 13312)


def pace(calm_s: float, work: float, seconds: float) -> StepPace:
    """Return the pace of a machine on which steps took so long."""
    known = StepPace()
    for _ in range(5):
        known.took(0, calm_s)
        known.took(work, seconds)
    return known


def test_on_a_slow_machine_prompts_add_no_more_to_a_step_than_they_may() -> None:
    slow = pace(calm_s=0.06, work=128, seconds=0.06 + 0.256)
    assert slow.affordable == pytest.approx(ADDED_S / 0.002)
    bounds = WORK.beside(2, [0], slow.affordable)
    assert bounds == StepBounds(int(ADDED_S / 0.002), int(ADDED_S / 0.002) + 2)


def test_on_a_fast_machine_the_allowance_is_the_bound() -> None:
    fast = pace(calm_s=0.02, work=128, seconds=0.03)
    assert WORK.beside(2, [0], fast.affordable) == WORK.beside(2, [0])


def test_the_slowest_machine_still_goes_on_with_a_prompt() -> None:
    crawling = pace(calm_s=1, work=16, seconds=60)
    assert WORK.beside(1, [9000], crawling.affordable) == StepBounds(LEAST, LEAST + 1)


def test_one_disturbed_step_decides_nothing() -> None:
    known = pace(calm_s=0.02, work=128, seconds=0.03)
    before = known.affordable
    known.took(128, 30)
    assert known.affordable == pytest.approx(before)


def test_until_steps_are_known_nothing_is_bounded_by_their_time() -> None:
    known = StepPace()
    known.took(128, 9)  # nobody knows yet what a step takes without prompts
    known.took(0, 0.02)
    known.took(128, 9)
    assert known.affordable == math.inf
