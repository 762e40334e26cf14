"""A step beside streams is bounded by its work, whatever its prompts are."""

import pytest

from veneer_server.engine.vllm.inside.step_work import (
    ALLOWANCE,
    LEAST,
    StepBounds,
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
