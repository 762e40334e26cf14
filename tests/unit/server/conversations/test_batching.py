"""Writes that wait together are written together, and fail together."""

import asyncio
from collections.abc import Sequence

import pytest

from veneer_server.conversations.sql.batching import Batching


class Written:
    """Writes when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, entries: Sequence[int]) -> None:
        await self.gate.wait()
        self.batches.append(list(entries))
        if self.error is not None:
            raise self.error


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_waits_meanwhile_goes_into_the_next_transaction() -> None:
    written = Written()
    batching = Batching(written)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(batching.put(1))
        await settle()
        for number in (2, 3, 4):
            tasks.create_task(batching.put(number))
        await settle()
        written.gate.set()
    assert written.batches == [[1], [2, 3, 4]]


async def test_a_failure_reaches_all_that_it_concerns_and_nobody_else() -> None:
    written = Written()
    batching = Batching(written)
    written.error = ValueError("full")
    written.gate.set()
    found = await asyncio.gather(batching.put(1), batching.put(2), return_exceptions=True)
    assert [str(error) for error in found] == ["full", "full"]
    written.error = None
    await batching.put(3)
    assert written.batches[-1] == [3]


async def test_what_a_client_hung_up_on_is_written_all_the_same() -> None:
    written = Written()
    batching = Batching(written)
    gone = asyncio.create_task(batching.put(1))
    await settle()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    written.gate.set()
    async with asyncio.timeout(5):
        await batching.put(2)
    assert written.batches == [[1], [2]]
