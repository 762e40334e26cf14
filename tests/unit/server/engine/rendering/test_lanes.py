"""Little text does not wait for much text."""

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from veneer_server.engine.vllm.rendering.lanes import Lanes, characters_of

MUCH = "x" * 100_000


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    with Lanes() as found:
        yield found


def test_little_text_overtakes_much_and_each_kind_keeps_its_order(lanes: Lanes) -> None:
    gate, done = threading.Event(), []

    def work(text: str) -> None:
        if text == MUCH:
            gate.wait(10)
        done.append(len(text))

    slow = [lanes.submit(partial(work, text)) for text in (MUCH, MUCH + "y")]
    for text in ("a", "bb"):
        lanes.submit(partial(work, text)).result(10)
    assert done == [1, 2]
    gate.set()
    for future in slow:
        future.result(10)
    assert done == [1, 2, 100_000, 100_001]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (({"prompt": "abc"}, object()), 3),
        ((None, [{"role": "user", "content": "hi"}, {"content": [{"text": "abc"}]}]), 9),
        (([1, 2, 3],), 3),
        ((), 0),
    ],
    ids=["prompt", "conversation", "tokens", "nothing"],
)
def test_the_text_in_the_arguments_counts(arguments: tuple[Any, ...], count: int) -> None:
    assert characters_of(partial(print, *arguments)) == count


def test_a_call_whose_arguments_nobody_sees_counts_as_little() -> None:
    assert characters_of(print) == 0
