"""Drain rules: what the first signal begins, what the second one ends."""

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI

from veneer_server.api.listener import Listener, PortTaken, allow_open_files, bind
from veneer_server.settings import ServerSettings, Settings

NEVER_S = 3600.0


def listener(
    *, drain_timeout_s: float = NEVER_S, on_hangup: Callable[[], None] = lambda: None
) -> Listener:
    return Listener(
        FastAPI(),
        draining=asyncio.Event(),
        deadline=asyncio.Event(),
        settings=lambda: Settings(server=ServerSettings(drain_timeout_s=drain_timeout_s)),
        on_hangup=on_hangup,
    )


async def test_a_stop_drains_and_leaves_running_requests_alone() -> None:
    server = listener()
    server.request_stop()
    assert server._draining.is_set()
    assert server.should_exit
    assert not server.force_exit
    assert not server._deadline.is_set()


async def test_the_deadline_passes_when_the_drain_time_is_over() -> None:
    server = listener(drain_timeout_s=0)
    server.request_stop()
    async with asyncio.timeout(5):
        await server._deadline.wait()
    assert not server.force_exit


async def test_a_second_stop_waits_for_nobody() -> None:
    server = listener()
    server.request_stop()
    server.request_stop()
    assert server._deadline.is_set()
    assert server.force_exit


@pytest.mark.parametrize("drain_timeout_s", [0.0, 0.3, 0.9, 12.0, 12.2, 12.5])
async def test_uvicorn_itself_waits_longer_than_the_deadline_but_less_than_two_seconds(
    drain_timeout_s: float,
) -> None:
    backstop_s = listener(drain_timeout_s=drain_timeout_s).config.timeout_graceful_shutdown
    assert backstop_s is not None
    assert drain_timeout_s + 0.3 < backstop_s < drain_timeout_s + 1.9


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_is_not_raised_again(wanted: signal.Signals) -> None:
    server = listener()
    with server.capture_signals():
        os.kill(os.getpid(), wanted)
        async with asyncio.timeout(5):
            await server._draining.wait()
    # Here uvicorn would raise it once more, and the process would not exit with 0.
    assert server.should_exit


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGHUP])
async def test_signals_are_given_back_afterwards(wanted: signal.Signals) -> None:
    before = signal.getsignal(wanted)
    with listener().capture_signals():
        assert signal.getsignal(wanted) != before
    assert signal.getsignal(wanted) == before


async def test_a_hang_up_is_told_and_stops_nothing() -> None:
    told = asyncio.Event()
    server = listener(on_hangup=told.set)
    with server.capture_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(5):
            await told.wait()
    assert not server.should_exit
    assert not server._draining.is_set()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_port_zero_picks_a_free_one(host: str, can_bind: Callable[[str], bool]) -> None:
    if not can_bind(host):
        pytest.skip(f"this machine has no {host}")
    with bind(host, 0) as found:
        assert found.getsockname()[1] > 0


@pytest.fixture
def can_bind() -> Callable[[str], bool]:
    def tried(host: str) -> bool:
        try:
            bind(host, 0).close()
        except PortTaken:
            return False
        return True

    return tried


def test_a_taken_port_is_named_before_anything_is_started() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}"):
            bind("127.0.0.1", port)


@pytest.fixture
def few_files() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (900, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("connections", "files"), [(100, 900), (1000, 1512), (10**9, None)], ids=["few", "more", "all"]
)
def test_the_limit_of_open_files_is_raised_for_the_connections_as_far_as_possible(
    few_files: int, connections: int, files: int | None
) -> None:
    allow_open_files(connections)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (files or few_files, few_files)
