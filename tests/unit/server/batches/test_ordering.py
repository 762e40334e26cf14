"""In which order lines are answered, and how many slots cold adapters may take."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_server.batches.ordering import arrange, choose, slots_for_cold
from veneer_server.batches.working.slots import Slots


@pytest.mark.parametrize(
    ("models", "window", "order"),
    [
        ("", 4, []),
        ("abab", 4, [0, 2, 1, 3]),
        ("abab", 2, [0, 1, 3, 2]),
        ("abcabc", 3, [0, 1, 2, 5, 3, 4]),
        ("aaaa", 2, [0, 1, 2, 3]),
    ],
)
def test_the_lines_of_a_model_come_together_within_a_window(
    models: str, window: int, order: list[int]
) -> None:
    assert arrange(list(models), window) == order


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.integers(1, 20))
def test_every_line_comes_once_in_its_window_and_each_models_lines_in_their_order(
    models: list[str], window: int
) -> None:
    order = arrange(models, window)
    assert sorted(order) == list(range(len(models)))
    for place, position in enumerate(order):
        assert place // window == position // window
    for model in set(models):
        mine = [position for position in order if models[position] == model]
        assert mine == sorted(mine)


def test_reordering_loads_each_adapter_once_for_each_window_at_most() -> None:
    models = [f"adapter-{number % 50}" for number in range(4000)]
    ordered = [models[position] for position in arrange(models)]
    changes = sum(a != b for a, b in itertools.pairwise(ordered))
    assert changes == 49 + 49, "the second window begins with the last adapter of the first"


@pytest.mark.parametrize(
    ("models", "cold", "most", "position"),
    [
        (["w", "c1"], [], 1, 0),
        (["c1", "w"], [], 1, 0),
        (["c1", "w"], ["c2"], 1, 1),
        (["c1", "c2"], ["c2"], 1, 1),
        (["c1", "c1", "c2"], ["c3"], 1, None),
        (["c1"], ["c2"], 2, 0),
        ([], [], 1, None),
    ],
)
def test_a_cold_adapter_waits_while_cold_ones_have_their_share_and_warm_ones_pass(
    models: list[str], cold: list[str], most: int, position: int | None
) -> None:
    assert choose(models, cold, lambda model: model == "w", most) == position


@pytest.mark.parametrize(("slots", "cold"), [(1, 1), (3, 1), (8, 2), (32, 8)])
def test_cold_adapters_of_batches_have_a_quarter_of_the_slots(slots: int, cold: int) -> None:
    assert slots_for_cold(slots) == cold


async def test_who_waits_for_a_slot_looks_again_when_a_line_ends() -> None:
    slots = Slots(lambda model: False, 1)
    assert slots.take(["a", "b"]) == 0
    assert slots.take(["a"]) == 0, "a second line of the same adapter takes no further slot"
    assert slots.take(["b"]) is None
    waiting = asyncio.create_task(slots.changed())
    await asyncio.sleep(0)
    slots.give_back("a")
    async with asyncio.timeout(5):
        await waiting
    assert slots.take(["b"]) is None
    slots.give_back("a")
    assert slots.take(["b"]) == 0
