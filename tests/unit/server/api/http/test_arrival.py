"""When a body is late."""

import asyncio

import pytest

from support.clock import forward
from veneer_server.api.errors import BodyTooSlow
from veneer_server.api.http.arrival import BodyClock, allowed_s
from veneer_server.settings import LimitSettings

LIMITS = LimitSettings(body_timeout_s=30, body_bytes_per_s=1000)


@pytest.mark.parametrize(("received", "seconds"), [(0, 30), (999, 30.999), (60_000, 90)])
def test_a_body_gets_a_time_and_more_as_it_comes(received: int, seconds: float) -> None:
    assert allowed_s(received, LIMITS) == seconds


class Client:
    """A body that arrives, and whether it was called late."""

    def __init__(self) -> None:
        self.held = False
        self.late: list[BodyTooSlow] = []
        self.clock = BodyClock(lambda: LIMITS, lambda: self.held, self.late.append)
        self.clock.run()

    async def after(self, seconds: float) -> bool:
        """Let time pass; return whether the body is late then."""
        forward(seconds)
        for _ in range(3):
            await asyncio.sleep(0)
        return bool(self.late)


async def test_a_body_that_stops_is_late_after_its_time() -> None:
    client = Client()
    assert not await client.after(29)
    client.clock.run()  # what runs is not begun again
    assert await client.after(2)
    assert str(client.late[0]).endswith("30 seconds, and one more for each 1000 bytes.")


async def test_a_slow_line_is_not_late_as_long_as_bytes_come() -> None:
    client = Client()
    for _ in range(100):
        client.clock.part(10_000)
        assert not await client.after(10)
    assert await client.after(31)


async def test_time_in_which_the_server_does_not_read_does_not_count() -> None:
    client = Client()
    client.held = True
    assert not await client.after(100)
    client.held = False
    assert not await client.after(29)
    assert await client.after(2)


async def test_a_body_that_is_there_is_never_late_and_the_next_one_starts_anew() -> None:
    client = Client()
    client.clock.part(100_000)
    client.clock.stop()
    assert not await client.after(1000)
    client.clock.run()
    assert not await client.after(29)
    assert await client.after(2)
