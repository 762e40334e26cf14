"""A large body is worked on beside the event loop, one at a time."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from veneer_server.api.apart import Apart

LARGE = 1_000_000


@pytest.fixture
def apart() -> Iterator[Apart]:
    made = Apart()
    yield made
    made.close()


async def test_the_loop_goes_on_while_a_large_body_is_worked_on(apart: Apart) -> None:
    gate = threading.Event()
    async with asyncio.timeout(5):
        working = asyncio.create_task(apart.run(LARGE, lambda: gate.wait(5)))
        await asyncio.sleep(0)
        gate.set()
        assert await working


async def test_large_bodies_are_worked_on_one_after_the_other(apart: Apart) -> None:
    gate, order = threading.Event(), []

    def work(number: int) -> None:
        gate.wait(5)
        order.append(number)

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(apart.run(LARGE, lambda number=number: work(number)))
        await asyncio.sleep(0)
        gate.set()
    assert order == [0, 1, 2, 3]


async def test_a_small_body_waits_for_no_large_one(apart: Apart) -> None:
    gate = threading.Event()
    async with asyncio.timeout(5):
        large = asyncio.create_task(apart.run(LARGE, lambda: gate.wait(5)))
        await asyncio.sleep(0)
        assert await apart.run(1000, threading.current_thread) is threading.current_thread()
        gate.set()
        await large


async def test_what_the_work_raises_reaches_the_caller(apart: Apart) -> None:
    with pytest.raises(ZeroDivisionError):
        await apart.run(LARGE, lambda: 1 // 0)
