"""The log of a stream: readers come late, early, and after the end."""

import asyncio

import pytest

from veneer_server.conversations.errors import StateRefused
from veneer_server.conversations.events import EventLog


async def read(log: EventLog, after: int) -> list[bytes]:
    return [event async for event in log.read(after)]


async def test_readers_begin_anywhere_and_get_what_comes_later() -> None:
    log = EventLog(100)
    log.add(b"0")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        early, late = (tasks.create_task(read(log, after)) for after in (-1, 1))
        for event in (b"1", b"2"):
            await asyncio.sleep(0)
            log.add(event)
        await asyncio.sleep(0)
        log.close()
    assert early.result() == [b"0", b"1", b"2"]
    assert late.result() == [b"2"]
    assert await read(log, 2) == []


async def test_beyond_its_bytes_the_first_events_are_forgotten() -> None:
    log = EventLog(10)
    for number in range(4):
        log.add(f"ev {number}".encode())
    log.close()
    assert log.size <= 10
    assert log.end == 4
    assert await read(log, 1) == [b"ev 2", b"ev 3"]
    with pytest.raises(StateRefused, match="before number 2"):
        await read(log, 0)


async def test_an_event_of_any_size_is_kept_while_it_is_the_last() -> None:
    log = EventLog(2)
    log.add(b"a long one")
    log.close()
    assert await read(log, -1) == [b"a long one"]
