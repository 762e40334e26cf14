"""Threads that nobody has to wait for."""

import asyncio
import threading

import pytest

from veneer_adapters.errors import TooLarge
from veneer_adapters.sources.fetching import TryAgain
from veneer_adapters.sources.hub_thread import Threads, Work


def silent(done: int, total: int | None) -> None:
    """Hear of progress and say nothing."""


async def test_what_the_thread_returns_or_raises_is_what_the_caller_gets() -> None:
    threads = Threads()
    assert await threads.run(lambda work: "done", silent) == "done"

    def fail(work: Work) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await threads.run(fail, silent)


async def test_a_thread_nobody_waits_for_leaves_at_the_next_byte() -> None:
    began, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def download(work: Work) -> None:
        began.set()
        gate.wait(5)
        try:
            work.received(1)
        except TryAgain:
            ended.set()

    task = asyncio.create_task(Threads().run(download, silent))
    async with asyncio.timeout(5):
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        await asyncio.wait([task])
        gate.set()
        assert await asyncio.to_thread(ended.wait, 5)
    assert task.cancelled()


async def test_threads_that_do_not_end_are_bounded() -> None:
    gate, threads = threading.Event(), Threads(limit=2)
    tasks = [asyncio.create_task(threads.run(lambda w: gate.wait(5), silent)) for _ in range(2)]
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with pytest.raises(TryAgain, match="Too many"):
            await threads.run(lambda work: None, silent)
        gate.set()


async def test_more_than_was_announced_ends_the_download() -> None:
    def download(work: Work) -> None:
        work.expect([3, 2])
        work.received(5)
        work.received(1)

    with pytest.raises(TryAgain, match="more than it announced"):
        await Threads().run(download, silent)


async def test_the_listener_can_refuse() -> None:
    def refuse(done: int, total: int | None) -> None:
        raise TooLarge("No.")

    def download(work: Work) -> None:
        work.expect([1, None])
        while True:
            work.received(1)

    async with asyncio.timeout(5):
        with pytest.raises(TooLarge):
            await Threads().run(download, refuse)


async def test_progress_is_told_in_order() -> None:
    heard: list[tuple[int, int | None]] = []

    def download(work: Work) -> None:
        work.expect([1, 2])
        bar = work.bar()(total=3)
        bar.update(1)
        bar.update_transfer(1)
        bar.update(2)
        bar.close()

    await Threads().run(download, lambda *step: heard.append(step))
    assert heard == [(0, 3), (1, 3), (3, 3)]
