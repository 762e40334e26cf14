"""Tasks that end although they should not are started again, and reported when that is in vain."""

import asyncio

import pytest

from veneer_server.background import Background


class Broken(Exception):
    """What a task raises."""


class Fatal(Exception):
    """What ends the server."""


class Work:
    """A task that fails so many times and then runs."""

    def __init__(self, failures: int, error: type[Exception] | None = Broken) -> None:
        self.failures, self.error, self.starts = failures, error, 0
        self.running = asyncio.Event()

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self.failures:
            if self.error is not None:
                raise self.error
            return
        self.running.set()
        await asyncio.Event().wait()


def background() -> Background:
    return Background(fatal=(Fatal,), first_pause_s=0.0)


@pytest.mark.parametrize("error", [Broken, None], ids=["raises", "ends"])
async def test_a_task_that_ends_is_started_again(error: type[Exception] | None) -> None:
    tasks, work = background(), Work(2, error)
    tasks.start("work", work.run)
    async with asyncio.timeout(5):
        await work.running.wait()
    assert tasks.failing() == []
    await tasks.close()


async def test_a_task_that_keeps_failing_is_named_and_nobody_waits_for_it() -> None:
    tasks, work, never = background(), Work(10**6), asyncio.Event()
    tasks.start("work", work.run)
    async with asyncio.timeout(5):
        assert not await tasks.wait_for(never, "work")
    assert tasks.failing() == ["work"]
    await tasks.close()


async def test_who_waits_for_an_event_gets_it() -> None:
    tasks, work, event = background(), Work(1), asyncio.Event()
    tasks.start("work", work.run)
    asyncio.get_running_loop().call_soon(event.set)
    async with asyncio.timeout(5):
        assert await tasks.wait_for(event, "work")
    await tasks.close()


async def test_a_task_that_is_to_end_once_is_not_started_again() -> None:
    tasks, work = background(), Work(1, None)
    tasks.start("work", work.run, once=True)
    async with asyncio.timeout(5):
        await tasks._tasks[0]
    assert work.starts == 1
    await tasks.close()


async def test_a_fatal_error_is_told_to_who_serves() -> None:
    tasks, work = background(), Work(1, Fatal)
    tasks.start("work", work.run)
    async with asyncio.timeout(5):
        with pytest.raises(Fatal):
            await tasks.until_over()
    await tasks.close()
