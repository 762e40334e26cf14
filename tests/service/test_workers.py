"""Several processes that read requests for one server: the same answers, and one harms no other."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
import yaml
from starlette.types import Receive, Scope, Send

from support.raw_http import Wire, connect
from support.serving import POLL_S, Served, start_process
from veneer_server.settings import Settings
from veneer_server.workers.keeping import Workers

pytestmark = pytest.mark.slow

WORKERS = 2
LONG = 3800
"""Words of an answer that no socket holds: 4.5 MB, where the system's most is 4 MiB."""


@contextmanager
def started(folder: Path, *, ends_with: int = 0) -> Iterator[Served]:
    config = folder / "veneer.yaml"
    sections = {"engine": {"kind": "echo"}, "server": {"workers": WORKERS}}
    config.write_text(yaml.safe_dump(sections))
    flags = ("--config", str(config))
    with start_process(folder, flags=flags, ends_with=ends_with) as served:
        yield served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with started(tmp_path) as found:
        yield found


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(POLL_S)


def workers_of(served: Served) -> list[psutil.Process]:
    assert served.process is not None
    return [one for one in psutil.Process(served.process.pid).children() if is_worker(one)]


def is_worker(process: psutil.Process) -> bool:
    return "veneer_server.workers.process" in process.cmdline()


def scraped(served: Served, name: str) -> float:
    page = httpx.get(f"{served.url}/metrics").text
    lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def until_all_accept(served: Served) -> None:
    await until(lambda: scraped(served, "veneer_workers") == WORKERS)


@asynccontextmanager
async def connected_to(served: Served, pid: int) -> AsyncIterator[Wire]:
    """Connect until this worker has its turn."""
    async with AsyncExitStack() as stack:
        for _ in range(2 * WORKERS):
            wire = await stack.enter_async_context(connect(served.url, receive_bytes=2048))
            await wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            await wire.answer()
            theirs = psutil.Process(pid).net_connections()
            if wire.port in {one.raddr.port for one in theirs if one.raddr}:
                yield wire
                return
        raise AssertionError("no connection came to the process")


async def ended_well(wire: Wire) -> bool:
    """Return whether the answer came to its end."""
    with suppress(ConnectionError):
        return (await wire.rest()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    return False


def post(words: int) -> bytes:
    text = " ".join(f"w{n}" + "x" * (990 if words == LONG else 0) for n in range(words))
    body = orjson.dumps(
        {"model": "echo", "stream": True, "messages": [{"role": "user", "content": text}]}
    )
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


async def test_every_worker_gives_the_same_answer(served: Served) -> None:
    await until_all_accept(served)
    answers = set()
    for pid in [one.pid for one in workers_of(served)]:
        async with connected_to(served, pid) as wire:
            await wire.send(post(50))
            told = await wire.rest()
        assert told.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        answers.add(b"".join(told.split(b'"content":"')[n].split(b'"')[0] for n in range(2, 51)))
    assert len(answers) == 1


async def test_a_killed_worker_ends_its_own_streams_only_and_another_takes_its_place(
    served: Served,
) -> None:
    await until_all_accept(served)
    first, second = workers_of(served)
    async with connected_to(served, first.pid) as lost, connected_to(served, second.pid) as kept:
        for wire in (lost, kept):
            await wire.send(post(LONG))
            assert b"200 OK" in await wire.some(64)
        first.kill()
        assert not await ended_well(lost)
        assert await ended_well(kept)
    await until(lambda: scraped(served, "veneer_requests_in_flight") == 0)
    await until_all_accept(served)
    assert first.pid not in {one.pid for one in workers_of(served)}


async def test_a_stop_waits_for_what_a_worker_writes_and_leaves_no_process(tmp_path: Path) -> None:
    with started(tmp_path) as served:
        assert served.process is not None
        await until_all_accept(served)
        workers = workers_of(served)
        async with connected_to(served, workers[0].pid) as wire:
            await wire.send(post(LONG))
            assert b"200 OK" in await wire.some(64)
            served.process.send_signal(signal.SIGTERM)
            await until(lambda: not workers[1].is_running())
            assert await ended_well(wire)
        assert await asyncio.to_thread(served.process.wait, 30) == 0
        assert not any(one.is_running() for one in workers)


async def test_workers_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with started(tmp_path, ends_with=-signal.SIGKILL) as served:
        assert served.process is not None
        await until_all_accept(served)
        workers = workers_of(served)
        served.process.kill()
        await until(lambda: not any(one.is_running() for one in workers))


async def test_a_worker_that_hangs_is_ended() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody asked")

    counts: list[int] = []
    settings = Settings.load(environ={}, flags={"server": {"workers": 2}})
    workers = Workers(answer, lambda: settings, counts.append, silent_s=0.6)
    keeping = asyncio.create_task(workers.keep())
    await until(lambda: counts[-1:] == [1])
    [child] = [one for one in psutil.Process().children() if is_worker(one)]
    child.suspend()
    await until(lambda: not child.is_running())
    await until(lambda: counts[-1:] == [1])
    workers.drain()
    await asyncio.wait_for(keeping, 60)


async def test_a_hang_up_tells_the_workers_the_new_limits(served: Served) -> None:
    assert served.process is not None
    await until_all_accept(served)
    config = served.adapters.parent / "veneer.yaml"
    sections = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**sections, "limits": {"max_header_bytes": 1024}}))
    served.process.send_signal(signal.SIGHUP)
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\n"
    async with asyncio.timeout(60):
        while True:
            async with connected_to(served, workers_of(served)[0].pid) as wire:
                await wire.send(head)
                if (await wire.answer()).status == 431:
                    return


async def test_the_server_serves_by_itself_while_no_worker_can(served: Served) -> None:
    assert served.process is not None
    await until_all_accept(served)
    for one in workers_of(served):
        one.kill()
    async with asyncio.timeout(60):
        while not await is_answered_by(served, served.process.pid):
            await asyncio.sleep(POLL_S)


async def is_answered_by(served: Served, pid: int) -> bool:
    """Ask; return whether this process had the connection and answered."""
    async with connect(served.url) as wire:
        with suppress(ConnectionError):  # it was handed to one that had just been killed
            await wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            await wire.some(1)
            theirs = psutil.Process(pid).net_connections("tcp")
            is_its = wire.port in {one.raddr.port for one in theirs if one.raddr}
            await wire.send(post(50))
            return await ended_well(wire) and is_its
    return False


async def test_workers_share_connections_evenly(served: Served) -> None:
    await until_all_accept(served)
    async with AsyncExitStack() as stack:
        for _ in range(4 * WORKERS):
            wire = await stack.enter_async_context(connect(served.url))
            await wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            await wire.answer()
        held = [
            len([c for c in one.net_connections("tcp") if c.raddr]) for one in workers_of(served)
        ]
    assert held == [4] * WORKERS
