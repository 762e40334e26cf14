"""Pieces of streams go together while many are written, and at once while few are."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from veneer_server.api.http.pacing import Load, Pacer
from veneer_server.api.http.writing import TimedTransport


class Wire:
    """What a transport was told."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.got.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.got.append(b"closed")


class Eager(Pacer):
    """Lets everything wait, for longer than a test lasts."""

    def __init__(self) -> None:
        super().__init__(60)
        self.flushes: list[Callable[[], None]] = []

    def may_wait(self, now_s: float, last_s: float) -> bool:
        return True

    def at_end(self, flush: Callable[[], None]) -> None:
        self.flushes.append(flush)


def timed(wire: Wire, pacer: Pacer) -> TimedTransport:
    given: Any = wire
    return TimedTransport(given, lambda: 60, list, pacer)


def busy(interval_s: float = 1.0) -> Load:
    """Return a load that is high from 1 s to 2 s."""
    load = Load(interval_s)
    for _ in range(32):
        load.may_wait(0.0, 0.0)
    load.may_wait(1.0, 0.0)
    return load


def test_nothing_waits_while_little_is_written() -> None:
    load = Load(1.0)
    assert not any(load.may_wait(number / 10, number / 10) for number in range(100))


def test_while_much_is_written_a_piece_waits_that_follows_the_last_within_the_interval() -> None:
    load = busy()
    assert load.may_wait(1.5, 1.2)
    assert not load.may_wait(1.5, 0.4)


@pytest.mark.parametrize("now_s", [2.1, 7.0])
def test_after_an_interval_with_little_nothing_waits_any_more(now_s: float) -> None:
    assert not busy().may_wait(now_s, now_s)


def test_after_a_pause_nothing_waits_however_much_was_written_before() -> None:
    load = busy()
    for _ in range(100):
        load.may_wait(1.5, 0.0)
    assert not load.may_wait(9.0, 9.0)


async def test_what_waits_is_written_in_order_before_anything_else() -> None:
    wire = Wire()
    transport = timed(wire, Eager())
    transport.write_soon(b"a")
    transport.write_soon(b"b")
    assert wire.got == []
    transport.write(b"c")
    assert wire.got == [b"abc"]


async def test_what_waits_is_written_at_the_end_of_the_interval_and_only_once() -> None:
    wire, pacer = Wire(), Eager()
    transport = timed(wire, pacer)
    transport.write_soon(b"a")
    transport.write_soon(b"b")
    [flush] = pacer.flushes
    flush()
    flush()
    assert wire.got == [b"ab"]


async def test_a_loop_that_is_busy_holds_only_so_much() -> None:
    wire = Wire()
    transport = timed(wire, Eager())
    for _ in range(65):
        transport.write_soon(b"a")
    assert wire.got == [b"a" * 65]


async def test_a_connection_that_closes_writes_what_waits() -> None:
    wire = Wire()
    transport = timed(wire, Eager())
    transport.write_soon(b"a")
    transport.close()
    assert wire.got == [b"a", b"closed"]


async def test_all_streams_wait_for_the_same_end() -> None:
    pacer, ended = Pacer(0.001), asyncio.Event()
    said: list[str] = []
    pacer.at_end(lambda: said.append("a"))
    pacer.at_end(lambda: said.append("b"))
    pacer.at_end(ended.set)
    async with asyncio.timeout(5):
        await ended.wait()
    assert said == ["a", "b"]


def test_with_an_interval_of_0_nothing_waits() -> None:
    pacer = Pacer(0)
    assert not any(pacer.may_wait(1.0, 1.0) for _ in range(100))
