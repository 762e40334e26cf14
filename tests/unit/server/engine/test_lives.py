"""Work for a request ends with its engine, and leaves no stream open that nobody reads."""

import asyncio

import pytest

from support.mortal import MortalEcho
from veneer_server.engine.base import EngineLost
from veneer_server.engine.lives import Life


class Stream:
    """Something that must be closed."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class Work:
    """Returns a stream when the test says so."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.over = False

    async def run(self) -> Stream:
        self.begun.set()
        await self.gate.wait()
        self.over = True
        return self.stream

    async def end(self) -> None:
        """Let the stream arrive; who waits for it has not looked yet."""
        self.gate.set()
        while not self.over:
            await asyncio.sleep(0)


async def test_a_stream_that_arrives_as_its_reader_is_cancelled_is_closed() -> None:
    work = Work()
    waiting = asyncio.create_task(Life(MortalEcho()).during(work.run()))
    async with asyncio.timeout(5):
        await work.begun.wait()
        await work.end()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert work.stream.closed


async def test_a_stream_that_arrives_is_the_readers_to_close() -> None:
    work = Work()
    work.gate.set()
    assert await Life(MortalEcho()).during(work.run()) is work.stream
    assert not work.stream.closed


async def test_work_ends_with_its_engine() -> None:
    work, life = Work(), Life(MortalEcho())
    waiting = asyncio.create_task(life.during(work.run()))
    async with asyncio.timeout(5):
        await work.begun.wait()
        life.ended.set()
        with pytest.raises(EngineLost):
            await waiting
    assert not work.over
